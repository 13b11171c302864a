import { readFileSync } from "node:fs";
import { CHANNEL_PATTERN, ERRORS, ROOM_PATTERN, SCOPE_PATTERN } from "@carillon/protocol";
import { expect, test } from "vitest";
import { ERRORS_DOC, errorsDoc } from "../../src/http/errors-doc.ts";

const NAMES_DOC = new URL("../../../../docs/names.md", import.meta.url);

test("docs/errors.md is what the table prints, so it lists exactly its codes", () => {
  const text = readFileSync(ERRORS_DOC, "utf8");

  expect(text).toBe(errorsDoc());
  expect([...text.matchAll(/^\| `([A-Z_]+)` \|/gm)].map((match) => match[1])).toEqual(Object.keys(ERRORS));
});

test("docs/names.md states the patterns that the code has", () => {
  const text = readFileSync(NAMES_DOC, "utf8");

  for (const pattern of [CHANNEL_PATTERN, ROOM_PATTERN, SCOPE_PATTERN]) expect(text).toContain(`\`${pattern}\``);
});
