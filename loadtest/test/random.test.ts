import { expect, test } from "vitest";
import { Random } from "../chaos/random.ts";

const draws = (seed: number) => {
  const random = new Random(seed);
  return Array.from({ length: 50 }, () => random.below(1_000));
};

test("a seed makes the same choices again, and another seed other ones", () => {
  expect(draws(7)).toEqual(draws(7));
  expect(draws(7)).not.toEqual(draws(8));
});

test("some takes each at most once", () => {
  const taken = new Random(1).some([1, 2, 3, 4], 10);

  expect(taken.toSorted()).toEqual([1, 2, 3, 4]);
});
