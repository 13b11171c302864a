import { expect, test } from "vitest";
import { Spread } from "../../src/gateway/spread.ts";

test("the milliseconds are whole, enough for the budget, and count the nodes", async () => {
  let nodes = 3;
  const spread = new Spread({ budgetPerS: 100, nodes: async () => nodes });
  expect(spread.ms(7)).toBe(70);

  await new Promise((resolve) => setTimeout(resolve, 20));

  expect(spread.ms(7)).toBe(210);
  expect(spread.ms(1)).toBe(30);
  expect(spread.ms(10_000_000)).toBe(3_600_000);
  nodes = 0;
  spread.stop();
});

test("without a budget nothing is said and nobody is asked", async () => {
  const spread = new Spread({ budgetPerS: undefined, nodes: () => Promise.reject(new Error("asked")) });

  await new Promise((resolve) => setTimeout(resolve, 20));

  expect(spread.ms(100)).toBeUndefined();
});
