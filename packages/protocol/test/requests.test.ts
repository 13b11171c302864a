import { expect, test } from "vitest";
import { parseJson, publicationBody, refreshBody, stringifyJson } from "../src/index.ts";

test.each(["9007199254740993", "1e400", "1.0", "-0", "0.1000000000000000055", '[-9223372036854775808,{"a":1E5}]'])(
  "a payload %s passes a schema digit for digit",
  (text) => {
    const body = refreshBody.parse(parseJson(`{"scope":"A","payload":${text}}`));

    expect(stringifyJson(body.payload)).toBe(text);
  },
);

test("a payload null is a payload and an absent one is absent", () => {
  expect("payload" in refreshBody.parse({ scope: "A", payload: null })).toBe(true);
  expect("payload" in refreshBody.parse({ scope: "A" })).toBe(false);
});

test("a payload's __proto__ key is data", () => {
  const body = refreshBody.parse(parseJson('{"scope":"A","payload":{"__proto__":{"x":9007199254740993}}}'));

  expect(stringifyJson(body.payload)).toBe('{"__proto__":{"x":9007199254740993}}');
  expect(({} as { x?: unknown }).x).toBeUndefined();
});

test("whole numbers become ids digit for digit, beyond 2^53 too", () => {
  const body = refreshBody.parse(
    parseJson('{"scope":"A","to":{"users":[42,1533947986218845197],"rooms":[7,"trip:42"]}}'),
  );

  expect(body.to).toEqual({ users: ["42", "1533947986218845197"], rooms: ["7", "trip:42"] });
});

test.each([
  ['{"scope":"a b"}', "INVALID_SCOPE"],
  ['{"scope":"A","to":{"users":[1.5]}}', "INVALID_ID"],
  ['{"scope":"A","to":{"users":[1.0]}}', "INVALID_ID"],
  ['{"scope":"A","to":{"users":[""]}}', "INVALID_ID"],
  ['{"scope":"A","to":{"rooms":[".x"]}}', "INVALID_ROOM"],
])("%s is refused with %s", (text, code) => {
  const result = refreshBody.safeParse(parseJson(text));

  expect(result.error?.issues[0]).toMatchObject({ params: { code } });
});

test("a channel's verdict names the offending character", () => {
  const result = publicationBody.safeParse({ channel: "a b" });

  expect(result.error?.issues[0]?.message).toContain('character 2 is " "');
});
