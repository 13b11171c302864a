import { expect, test } from "vitest";
import { type PushWhen, pushPolicy, verdict } from "../src/policy.ts";

test("the first rule that matches decides, and without one a device that shows it saves its push", () => {
  const when = pushPolicy([
    { pattern: "TRIP_URGENT", when: "always" },
    { pattern: "TRIP_*|VEHICLE_*", when: "user-not-foreground" },
    { pattern: "TRIP_*", when: "always" },
  ]);

  expect(["TRIP_URGENT", "TRIP_MOVED", "VEHICLE_ASSIGNED", "USER_APPROVED"].map(when)).toEqual([
    "always",
    "user-not-foreground",
    "user-not-foreground",
    "device-not-foreground",
  ]);
});

const nothing = { read: false, seenHere: false, seenAnywhere: false };
const seenHere = { read: false, seenHere: true, seenAnywhere: true };
const seenElsewhere = { read: false, seenHere: false, seenAnywhere: true };
const read = { read: true, seenHere: false, seenAnywhere: false };

test.each<[PushWhen, object, string]>([
  ["always", nothing, "push"],
  ["always", seenHere, "push"],
  ["always", seenElsewhere, "push"],
  ["always", read, "read"],
  ["device-not-foreground", nothing, "push"],
  ["device-not-foreground", seenHere, "seen_here"],
  ["device-not-foreground", seenElsewhere, "push"],
  ["device-not-foreground", read, "read"],
  ["user-not-foreground", nothing, "push"],
  ["user-not-foreground", seenHere, "seen_here"],
  ["user-not-foreground", seenElsewhere, "seen_elsewhere"],
  ["user-not-foreground", read, "read"],
])("%s with %j: %s", (when, facts, expected) => {
  expect(verdict(when, { ...nothing, ...facts })).toBe(expected);
});
