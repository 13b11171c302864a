import { expect, test } from "vitest";
import { parseOptions, UsageError, wholeNumber } from "../command-line.ts";

test("a size is a whole number within its range", () => {
  expect(wholeNumber("seed", "0", { least: 0 })).toBe(0);
  expect(wholeNumber("nodes", "16", { least: 2, most: 16 })).toBe(16);
});

test.each(["2k", "", " ", "0", "-1", "1.5", "17", "Infinity"])("%j is no size", (text) => {
  const read = () => wholeNumber("nodes", text, { most: 16 });

  expect(read).toThrow(UsageError);
  expect(read).toThrow(`--nodes ${text}: a whole number from 1 to 16`);
});

test("an option that there is not is named", () => {
  const read = () => parseOptions({ args: ["--node", "3"], options: { nodes: { type: "string" } } });

  expect(read).toThrow(UsageError);
  expect(read).toThrow("--node");
});
