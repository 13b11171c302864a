import fc from "fast-check";
import { expect, test } from "vitest";
import { comparePositions, formatId, parseId } from "../src/index.ts";

const number = fc.integer({ min: 0, max: 999_999_999_999_999 });
const position = fc.record({ epoch: number, n: number });

test("an id leads back to its position, and only one text is its id", () => {
  fc.assert(
    fc.property(position, (at) => {
      expect(parseId(formatId(at))).toEqual(at);
    }),
  );
  fc.assert(
    fc.property(fc.stringMatching(/^\d{1,4}-\d{1,4}$/), (text) => {
      const parsed = parseId(text);

      expect(parsed === undefined || formatId(parsed) === text).toBe(true);
    }),
  );
});

test.each([
  "",
  "1",
  "1-",
  "-1",
  "1-2-3",
  " 1-2",
  "1-2\n",
  "1-2 ",
  "01-2",
  "1-02",
  "1.5-2",
  "1e3-2",
  "١-٢",
  `1-${"9".repeat(16)}`,
])("%j is no id of ours", (text) => {
  expect(parseId(text)).toBeUndefined();
});

test.each([undefined, null, 1, {}, ["1-2"], Symbol("1-2"), 12n])("what isn't text is no id", (value) => {
  expect(parseId(value)).toBeUndefined();
});

test("positions are ordered by epoch, then by number", () => {
  fc.assert(
    fc.property(position, position, (a, b) => {
      const expected = a.epoch === b.epoch ? Math.sign(a.n - b.n) : Math.sign(a.epoch - b.epoch);

      expect(Math.sign(comparePositions(a, b))).toBe(expected);
    }),
  );
  expect(comparePositions({ epoch: 1, n: 9 }, { epoch: 2, n: 0 })).toBeLessThan(0);
});
