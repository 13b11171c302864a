import { expect, test } from "vitest";
import { Brake } from "../src/brake.ts";

const batch = (size: number, dead: number) => Array.from({ length: size }, (_, i) => i < dead);

test.each([
  [100, 20, false],
  [100, 21, true],
  [60, 12, false],
  [60, 13, true],
  [9, 9, false],
  [10, 10, true],
])("of a batch of %i, %i dead: %s", (size, dead, trips) => {
  expect(new Brake({ maxPercent: 20 }).trips(batch(size, dead))).toBe(trips);
});

test("small batches are judged together, so that a wrong project doesn't remove devices one by one", () => {
  const brake = new Brake({ maxPercent: 20 });

  const trips = Array.from({ length: 10 }, () => brake.trips([true]));

  expect(trips).toEqual([...Array(9).fill(false), true]);
});

test("what came long before does not count", () => {
  const brake = new Brake({ maxPercent: 20 });
  for (let i = 0; i < 9; i++) brake.trips([true]);
  brake.trips(batch(100, 0));

  expect(brake.trips([true])).toBe(false);
});

test("100 percent is no brake", () => {
  expect(new Brake({ maxPercent: 100 }).trips(batch(100, 100))).toBe(false);
});
