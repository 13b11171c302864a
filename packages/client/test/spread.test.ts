import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { Spread } from "../src/spread.ts";
import type { Refresh } from "../src/types.ts";

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

const refresh = (scope: string, id: string, payload?: unknown): Refresh => ({
  namespace: "trips",
  scope,
  id,
  ...(payload !== undefined && { payload }),
});

test("a refresh waits for some time within its spread, differently in each client", () => {
  const waits = Array.from({ length: 50 }, () => {
    const began = Date.now();
    let wait: number | undefined;
    const spread = new Spread(() => {
      wait = Date.now() - began;
    });
    spread.add(refresh("A", "1-1"), 1000);
    expect(wait).toBeUndefined();
    vi.advanceTimersByTime(1000);
    return wait!;
  });

  expect(Math.max(...waits)).toBeLessThanOrEqual(1000);
  expect(new Set(waits).size).toBeGreaterThan(20);
});

test("a newer refresh of the same scope joins the one that waits, and those with payloads are all told", () => {
  const told: string[] = [];
  const spread = new Spread(({ id }) => told.push(id));

  spread.add(refresh("A", "1-1"), 1000);
  spread.add(refresh("A", "1-2"), 1000);
  spread.add(refresh("A", "1-3"));
  spread.add(refresh("A", "1-4", { n: 4 }), 1000);
  spread.add(refresh("A", "1-5", { n: 5 }), 1000);
  spread.add(refresh("B", "1-6"));
  const atOnce = [...told];
  vi.advanceTimersByTime(1000);

  expect(atOnce).toEqual(["1-6"]);
  expect(told.sort()).toEqual(["1-3", "1-4", "1-5", "1-6"]);
});

test("no more than a thousand wait, and none after it was cleared", () => {
  let told = 0;
  const spread = new Spread(() => told++);

  for (let n = 0; n < 1100; n++) spread.add(refresh("A", `1-${n}`, n), 1000);
  const atOnce = told;
  spread.clear();
  vi.advanceTimersByTime(1000);

  expect([atOnce, told]).toEqual([100, 100]);
});
