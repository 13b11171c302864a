import fc from "fast-check";
import { describe, expect, test } from "vitest";
import {
  canonicalJson,
  compactJson,
  jsonOrString,
  MAX_JSON_DEPTH,
  numberText,
  parseJson,
  stringifyJson,
} from "../src/index.ts";

const digits = fc.stringMatching(/^-?(?:0|[1-9]\d{0,24})(?:\.\d{1,20})?(?:[eE][+-]?\d{1,4})?$/);

/** A compact document whose numbers are written in every way that JSON knows. */
const document = fc.letrec<{ value: string }>((tie) => ({
  value: fc.oneof(
    { maxDepth: 5, withCrossShrink: true },
    digits,
    fc.constantFrom("null", "true", "false", '""', '"\\\\"', '"\\""', '"a\\\\\\"1.0"'),
    fc.string({ unit: "binary" }).map((text) => JSON.stringify(text)),
    fc.array(tie("value"), { maxLength: 5 }).map((items) => `[${items.join(",")}]`),
    fc
      .dictionary(fc.oneof(fc.string(), fc.constantFrom("__proto__", "constructor", "toJSON", "1")), tie("value"), {
        maxKeys: 5,
      })
      .map(
        (members) =>
          `{${Object.entries(members)
            .map(([key, item]) => `${JSON.stringify(key)}:${item}`)
            .join(",")}}`,
      ),
  ),
})).value;

describe("a document", () => {
  test("comes back as it was written, every digit of it", () => {
    fc.assert(
      fc.property(document, (text) => {
        // Objects put their index keys first, here as in JSON.parse; otherwise the text is the same.
        const indexKeys = /"\d+":/.test(text);
        if (indexKeys) expect([...compactJson(text)].sort()).toEqual([...text].sort());
        else expect(compactJson(text)).toBe(text);
      }),
      { numRuns: 2000 },
    );
  });

  test("has the value that JSON.parse gives, but for its numbers' digits", () => {
    fc.assert(
      fc.property(document, (text) => {
        expect(JSON.parse(stringifyJson(parseJson(text)))).toEqual(JSON.parse(text));
      }),
      { numRuns: 500 },
    );
  });

  test.each([
    "9007199254740993",
    "-9223372036854775808",
    "1e400",
    "1.0",
    "-0",
    "1E5",
    "0.1000000000000000055",
    "123456789012345678901",
  ])("keeps %s among spaces and strings that look like it", (number) => {
    const text = ` { "a" : [ ${number} , "${number}", "\\"${number}" ] , "b":${number}}`;

    expect(compactJson(text)).toBe(`{"a":[${number},"${number}","\\"${number}"],"b":${number}}`);
    expect(numberText((parseJson(text) as { b: unknown }).b)).toBe(number);
  });

  test("with a __proto__ that holds a long number sets no prototype", () => {
    const value = parseJson('{"__proto__":{"n":9007199254740993},"m":1.0}') as object;

    expect(Object.getPrototypeOf(value)).toBe(Object.prototype);
    expect(stringifyJson(value)).toBe('{"__proto__":{"n":9007199254740993},"m":1.0}');
  });

  test("of any text is either taken whole or a SyntaxError, as JSON.parse says", () => {
    const near = fc.string({ unit: fc.constantFrom(...'{}[]",:\\-+.eE019 \nntu') });
    fc.assert(
      fc.property(near, (text) => {
        let expected: unknown;
        try {
          expected = JSON.parse(text);
        } catch {
          expect(() => parseJson(text)).toThrow(SyntaxError);
          return;
        }
        // By text and back, which is what a client does with it.
        expect(JSON.parse(stringifyJson(parseJson(text)))).toEqual(expected);
      }),
      { numRuns: 5000 },
    );
  });

  test("nests to the bound and not deeper, brackets in strings aside", () => {
    const nested = (depth: number) => `${"[".repeat(depth)}${"]".repeat(depth)}`;

    expect(() => parseJson(nested(MAX_JSON_DEPTH))).not.toThrow();
    expect(() => parseJson(nested(MAX_JSON_DEPTH + 1))).toThrow(RangeError);
    expect(parseJson(JSON.stringify(nested(1000)))).toBe(nested(1000));
  });

  test("of megabytes takes well under a second, however its numbers are written", () => {
    for (const item of ["1, ", "1.0, ", "9007199254740993, "]) {
      const text = `[${item.repeat(Math.floor(4_000_000 / item.length))}1]`;
      const before = performance.now();

      parseJson(text);

      expect(performance.now() - before).toBeLessThan(3000);
    }
  });
});

test.each([[undefined], [() => 0], [Symbol("x")]])("%s is nothing that JSON carries", (value) => {
  expect(() => stringifyJson(value)).toThrow(TypeError);
});

test("a BigInt and a cycle are nothing that JSON carries", () => {
  const cycle: Record<string, unknown> = {};
  cycle.self = cycle;

  expect(() => stringifyJson({ n: 1n })).toThrow(TypeError);
  expect(() => stringifyJson(cycle)).toThrow(TypeError);
});

test("a text that isn't JSON travels as a string", () => {
  expect(jsonOrString("{oops")).toBe('"{oops"');
  expect(jsonOrString(' {"a": 1.0} ')).toBe('{"a":1.0}');
});

test("equal documents have one canonical text, whatever the order of their keys", () => {
  expect(canonicalJson(parseJson('{"b":[1,{"d":1.0,"c":null}],"a":"x"}'))).toBe('{"a":"x","b":[1,{"c":null,"d":1.0}]}');
});
