import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { CLI_DOC, cliDoc } from "../src/docs.ts";

test("docs/cli.md is current", () => {
  expect(readFileSync(CLI_DOC, "utf8")).toBe(cliDoc());
});
