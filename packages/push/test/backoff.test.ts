import { expect, test } from "vitest";
import { backoffMs } from "../src/backoff.ts";

test("waits double up to ten minutes, and differ", () => {
  const least = [0, 1, 2, 3, 9, 10, 99].map((attempts) => backoffMs(attempts, undefined, () => 0));
  const most = [0, 1, 2, 3, 9, 10, 99].map((attempts) => backoffMs(attempts, undefined, () => 1));

  expect(least).toEqual([500, 1000, 2000, 4000, 256_000, 300_000, 300_000]);
  expect(most).toEqual([1000, 2000, 4000, 8000, 512_000, 600_000, 600_000]);
});

test("a wait is never shorter than FCM asks for", () => {
  expect(backoffMs(0, 120, () => 0)).toBe(120_000);
  expect(backoffMs(0, 120, () => 1)).toBe(144_000);
});
