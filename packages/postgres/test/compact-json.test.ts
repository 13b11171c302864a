import { MAX_JSON_DEPTH } from "@carillon/protocol";
import { expect, test } from "vitest";
import { compactPostgresJson } from "../src/compact-json.ts";

test("spaces between tokens go and those within strings stay", () => {
  const text = '{"a": [1, 2.50, -0.0, 9007199254740993], "b c": "x, y: z \\" { [ \\\\", "d": {"e": "\\\\"}, "f": null}';

  expect(compactPostgresJson(text)).toBe(
    '{"a":[1,2.50,-0.0,9007199254740993],"b c":"x, y: z \\" { [ \\\\","d":{"e":"\\\\"},"f":null}',
  );
});

test("what is compact is left as it is", () => {
  for (const text of ['""', "1", '{"a":"\\\\\\""}', "[]", '"😀 é"']) expect(compactPostgresJson(text)).toBe(text);
});

test("line breaks and tabs of a json column go too", () => {
  expect(compactPostgresJson('{\n\t"a" :\r\n 1 }')).toBe('{"a":1}');
});

test("what nests too deep is refused, braces in strings not counted", () => {
  expect(compactPostgresJson("[".repeat(MAX_JSON_DEPTH) + "]".repeat(MAX_JSON_DEPTH))).toBeDefined();
  expect(compactPostgresJson("[".repeat(MAX_JSON_DEPTH + 1) + "]".repeat(MAX_JSON_DEPTH + 1))).toBeUndefined();
  expect(compactPostgresJson(`"${"[".repeat(1000)}"`)).toBeDefined();
});
