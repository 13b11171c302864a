import { expect, test } from "vitest";
import { CarillonError, ERRORS, type ErrorCode } from "../src/index.ts";

const kinds = Object.entries(ERRORS) as [
  ErrorCode,
  { status: number; retryable: boolean; closeCode?: number; title: string },
][];

test("every close code tells the client what to do, and only one failure has it", () => {
  const closing = kinds.filter(([, kind]) => kind.closeCode !== undefined);

  for (const [code, { closeCode = 0, retryable }] of closing) {
    if (closeCode < 4000) expect([code, closeCode]).toEqual(["PAYLOAD_TOO_LARGE", 1009]);
    else expect([code, Math.floor(closeCode / 100)]).toEqual([code, retryable ? (closeCode < 4200 ? 41 : 42) : 40]);
  }
  expect(new Set(closing.map(([, { closeCode }]) => closeCode)).size).toBe(closing.length);
});

test("what a retry helps with has a status that says so", () => {
  for (const [code, { status, retryable }] of kinds) {
    if (status === 503) expect([code, retryable]).toEqual([code, true]);
    if ([400, 401, 403, 404, 405, 413, 415, 422].includes(status)) expect([code, retryable]).toEqual([code, false]);
  }
});

test("an error says its title unless it is told better, and keeps its cause", () => {
  const cause = new Error("inner");

  const plain = new CarillonError("DRAINING");
  const rich = new CarillonError("RATE_LIMITED", "slow down", { retryAfterS: 3, cause });

  expect(plain.message).toBe(ERRORS.DRAINING.title);
  expect("cause" in plain).toBe(false);
  expect(rich).toMatchObject({
    name: "CarillonError",
    code: "RATE_LIMITED",
    message: "slow down",
    retryAfterS: 3,
    cause,
  });
  expect(rich.kind).toBe(ERRORS.RATE_LIMITED);
});
