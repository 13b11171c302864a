import fc from "fast-check";
import { describe, expect, test, vi } from "vitest";
import {
  canonicalJson,
  compactJson,
  isPlainObject,
  jsonOrString,
  MAX_JSON_DEPTH,
  numberText,
  parseJson,
  stringifyJson,
} from "../src/index.ts";

/** A number in one of the many ways in which JSON can write it. */
const numeral = fc
  .tuple(
    fc.constantFrom("", "-"),
    fc.oneof(fc.constant("0"), fc.stringMatching(/^[1-9]\d{0,25}$/)),
    fc.oneof(fc.constant(""), fc.stringMatching(/^\.\d{1,25}$/)),
    fc.oneof(fc.constant(""), fc.stringMatching(/^[eE][+-]?\d{1,3}$/)),
  )
  .map((parts) => parts.join(""));

/** Compact JSON text with keys that stay in place (no integer keys, no doubles), written without JSON.stringify of numbers. */
const { document } = fc.letrec<{ document: string }>((tie) => ({
  document: fc.oneof(
    { maxDepth: 5 },
    numeral,
    fc.string().map((text) => JSON.stringify(text)),
    fc.constantFrom("null", "true", "false"),
    fc.array(tie("document"), { maxLength: 4 }).map((items) => `[${items.join(",")}]`),
    fc
      .uniqueArray(fc.tuple(fc.stringMatching(/^[a-z_]{1,9}$/), tie("document")), {
        maxLength: 4,
        selector: ([key]) => key,
      })
      .map((members) => `{${members.map(([key, value]) => `"${key}":${value}`).join(",")}}`),
  ),
}));

const nested = (depth: number) => `${"[".repeat(depth)}${"]".repeat(depth)}`;

describe("digits", () => {
  test("what is parsed and printed is the same text", () => {
    fc.assert(
      fc.property(document, (text) => {
        expect(stringifyJson(parseJson(text))).toBe(text);
      }),
      { numRuns: 2000 },
    );
  });

  test("spaces go, digits stay", () => {
    expect(compactJson(' { "a" : 9007199254740993 ,\n "b" : [ 1.0 , -0 , 1e400 ] } ')).toBe(
      '{"a":9007199254740993,"b":[1.0,-0,1e400]}',
    );
  });

  test("only a document with numbers that a double can't hold is parsed twice", () => {
    const parse = vi.spyOn(JSON, "parse");

    parseJson('{"a":[1,2.5,-17,"1.0",{"1.0":true}]}');
    const once = parse.mock.calls.length;
    parseJson('{"a":1.0}');
    const twice = parse.mock.calls.length - once;
    parse.mockRestore();

    expect([once, twice]).toEqual([1, 2]);
  });

  test("numbers that a double holds stay numbers", () => {
    expect(parseJson('{"a":1,"b":-2.5,"c":1.0}')).toMatchObject({ a: 1, b: -2.5 });
    expect(numberText(parseJson("1.0"))).toBe("1.0");
    expect(numberText(parseJson("17"))).toBe("17");
    expect(numberText("17")).toBeUndefined();
  });

  test("keys that mean something to JavaScript are data", () => {
    const text = '{"__proto__":{"polluted":1.0},"constructor":2,"toJSON":3}';

    expect(compactJson(text)).toBe(text);
    expect(({} as { polluted?: unknown }).polluted).toBeUndefined();
  });
});

describe("depth", () => {
  test.each([
    nested(MAX_JSON_DEPTH),
    '{"a":'.repeat(MAX_JSON_DEPTH) + 1 + "}".repeat(MAX_JSON_DEPTH),
    JSON.stringify("[".repeat(1000)),
    JSON.stringify('"\\'.repeat(100)),
    `[${"[],".repeat(500)}[]]`,
  ])("%.20s… is not too deep", (text) => {
    expect(compactJson(text)).toBe(text);
  });

  test("one level more is, and a million levels do not hurt", () => {
    expect(() => parseJson(nested(MAX_JSON_DEPTH + 1))).toThrow(RangeError);
    expect(() => parseJson("[".repeat(1_000_000))).toThrow(RangeError);
    expect(() => parseJson(`["\\"",${nested(MAX_JSON_DEPTH)}]`)).toThrow(RangeError);
  });

  test("a value that another parser made is held to the same bound", () => {
    expect(() => stringifyJson(JSON.parse(nested(MAX_JSON_DEPTH + 1)))).toThrow(RangeError);
    expect(() => stringifyJson(JSON.parse(nested(100_000)))).toThrow(RangeError);
  });
});

describe("what isn't JSON", () => {
  test.each(["", " ", "{", "[1,]", "{'a':1}", "01", "+1", ".5", "NaN", "undefined", "tru", '"\n"', "1 2"])(
    "%j is refused",
    (text) => {
      expect(() => parseJson(text)).toThrow(SyntaxError);
      expect(jsonOrString(text)).toBe(JSON.stringify(text));
    },
  );

  test("anything at all travels as JSON on one line", () => {
    fc.assert(
      fc.property(fc.oneof(fc.string({ unit: "binary" }), document, fc.json()), (text) => {
        const travelling = jsonOrString(text);

        expect(() => JSON.parse(travelling)).not.toThrow();
        expect(travelling).not.toMatch(/[\n\r\t]/);
      }),
    );
  });

  test.each([undefined, () => 1, Symbol("a"), 1n])("JSON cannot carry %s", (value) => {
    expect(() => stringifyJson(value)).toThrow(TypeError);
  });
});

test("a number kept as text is not an object", () => {
  expect(isPlainObject(parseJson("1.0"))).toBe(false);
  expect([{}, [], null, "a"].map(isPlainObject)).toEqual([true, false, false, false]);
});

test("equal documents are canonically equal whatever the order of their keys", () => {
  const a = parseJson('{"b":[1.0,{"y":1,"x":2}],"a":null}');
  const b = parseJson('{"a":null,"b":[1.0,{"x":2,"y":1}]}');

  expect(canonicalJson(a)).toBe(canonicalJson(b));
  expect(canonicalJson(a)).toBe('{"a":null,"b":[1.0,{"x":2,"y":1}]}');
  expect(canonicalJson(parseJson("[1,2]"))).not.toBe(canonicalJson(parseJson("[2,1]")));
});
