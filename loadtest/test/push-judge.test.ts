import type { FcmRequest } from "@carillon/testkit";
import { expect, test } from "vitest";
import { type AttemptRow, type Evidence, judge } from "../push/judge.ts";
import { type Kind, Phone } from "../push/phones.ts";

const at = 1_000_000;

function phone(kind: Kind, ...owners: readonly (readonly [user: string, fromMs: number, toMs?: number])[]): Phone {
  const made = new Phone("http://nowhere", "d1", kind);
  for (const [user, fromMs, toMs = Number.POSITIVE_INFINITY] of owners) made.owners.push({ user, fromMs, toMs });
  return made;
}

const push = (accepted = true): FcmRequest => ({
  at,
  target: "token-d1",
  message: { data: { notificationId: "e1" } },
  httpVersion: "1.1",
  behaviour: "ok",
  accepted,
});
const attempt = (outcome: string, detail: AttemptRow["detail"] = null): AttemptRow => ({
  event_id: "e1",
  installation_id: "d1",
  outcome,
  error_code: null,
  detail,
});
const faultsOf = (evidence: Partial<Evidence>) =>
  judge({
    accepted: new Set(["e1"]),
    entries: [{ event_id: "e1", user_id: "ann", created_ms: at }],
    attempts: [],
    requests: [],
    phones: [phone("offline", ["ann", 0])],
    ...evidence,
  }).faults;

test("a push, or a screen, is what it takes", () => {
  const looking = phone("foreground", ["ann", 0]);
  looking.shown.add("e1");

  expect(faultsOf({ requests: [push()] })).toEqual([]);
  expect(faultsOf({ phones: [looking] })).toEqual([]);
});

test("neither of them is a fault, and so is a push that FCM did not take", () => {
  expect(faultsOf({})).toEqual(["e1 reached offline d1 neither way: no record"]);
  expect(faultsOf({ requests: [push(false)], attempts: [attempt("retry")] })).toEqual([
    "e1 reached offline d1 neither way: retry",
  ]);
});

test("an accepted notification that is in no inbox is a fault", () => {
  expect(faultsOf({ entries: [] })).toEqual(["e1 was accepted and is in no inbox"]);
});

test("a push twice is a fault unless a record says why", () => {
  const requests = [push(), push()];

  expect(faultsOf({ requests, attempts: [attempt("sent")] })).toEqual([
    "e1 went 2 times to d1, and no record says why",
  ]);
  expect(faultsOf({ requests, attempts: [attempt("lost"), attempt("sent", { repeated: true })] })).toEqual([]);
});

test("a push to a device that is another user's by then is a fault", () => {
  const phones = [phone("offline", ["ann", 0, at - 60_000], ["bob", at - 50_000])];

  expect(faultsOf({ phones, requests: [push()] })).toEqual(["e1 went to d1, which is not its user's"]);
  expect(faultsOf({ phones })).toEqual([]);
});
