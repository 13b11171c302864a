import { expect, test } from "vitest";
import { UsageError } from "../command-line.ts";
import { readOptions } from "../k6/options.ts";

test("a scenario is played at its full size, and small where that is asked for", () => {
  expect(readOptions(["fanout"])).toMatchObject({ scenario: "fanout", clients: 300, seconds: 60, nodes: 3 });
  expect(readOptions(["fanout", "--smoke", "--rate", "5"])).toMatchObject({ clients: 60, seconds: 10, rate: 5 });
});

test.each([
  ["no scenario", []],
  ["one that there isn't", ["constructor"]],
  ["two", ["fanout", "mixed"]],
  ["a size that is none", ["fanout", "--clients", "many"]],
  ["a secret for nobody", ["fanout", "--key", "s"]],
  ["an option that there isn't", ["fanout", "--fast"]],
])("%s is an error of usage", (_what, args) => {
  expect(() => readOptions(args)).toThrow(UsageError);
});
