import { expect, test } from "vitest";
import { pushChaos } from "../push/chaos.ts";

test("notifications are seen on screen or pushed, once and to nobody else, while a node, FCM and Postgres are killed", async () => {
  const lines: string[] = [];

  const result = await pushChaos({
    users: 10,
    devices: 24,
    notifications: 60,
    perSecond: 10,
    faultEveryMs: 500,
    faults: 3,
    seed: 7,
    say: (line) => lines.push(line),
  });

  expect(result.faults, lines.join("\n")).toEqual([]);
  expect(result.struck).toHaveLength(3);
  expect(result.shown).toBeGreaterThan(0);
  expect(result.pushed).toBeGreaterThan(result.shown);
});
