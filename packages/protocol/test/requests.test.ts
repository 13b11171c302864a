import fc from "fast-check";
import { expect, test } from "vitest";
import { z } from "zod";
import {
  MAX_AUDIENCE,
  MAX_BATCH,
  parseJson,
  publicationBody,
  publicationsBody,
  refreshBody,
  stringifyJson,
} from "../src/index.ts";

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

test.each([
  ["an unknown key", { scope: "A", extra: 1 }],
  ["an unknown list of recipients", { scope: "A", to: { user: ["42"] } }],
  ["recipients that are no list", { scope: "A", to: { users: "42" } }],
  ["recipients that are nothing", { scope: "A", to: null }],
  ["a list of too many", { scope: "A", to: { users: Array.from({ length: MAX_AUDIENCE + 1 }, (_, i) => i) } }],
  ["a socket without a name", { scope: "A", to: { except: { sockets: [""] } } }],
  ["no scope", { payload: 1 }],
])("%s is refused", (_what, body) => {
  expect(refreshBody.safeParse(body).success).toBe(false);
});

test("absent lists stay absent and empty ones stay empty", () => {
  const { to } = refreshBody.parse({ scope: "A", to: { users: [], roles: undefined } });

  expect(to).toStrictEqual({ users: [] });
});

test("a batch is 1 to 1,000 items, judged one by one later", () => {
  const sizes = [0, 1, MAX_BATCH, MAX_BATCH + 1];

  const verdicts = sizes.map(
    (size) => publicationsBody.safeParse({ publications: Array(size).fill("nonsense") }).success,
  );

  expect(verdicts).toEqual([false, true, true, false]);
});

test("every schema can describe itself for the API's description", () => {
  for (const schema of [refreshBody, publicationBody, publicationsBody]) {
    expect(z.toJSONSchema(schema, { io: "input" })).toMatchObject({ type: "object" });
  }
});

test("no input makes a schema throw", () => {
  fc.assert(
    fc.property(fc.anything({ withNullPrototype: true }), (value) => {
      for (const schema of [refreshBody, publicationBody, publicationsBody]) schema.safeParse(value);
      refreshBody.safeParse({ scope: "A", to: value, payload: value, push: value });
    }),
  );
});
