import { compilePattern as compileServers } from "@carillon/protocol";
import fc from "fast-check";
import { expect, test } from "vitest";
import { compilePattern } from "../src/pattern.ts";

const letters = fc.string({ unit: fc.constantFrom("A", "b", "_", ".", ":", "-", "1"), maxLength: 8 });
const patterns = fc.string({
  unit: fc.constantFrom("A", "b", "_", ".", ":", "-", "1", "*", "|", "(", "+"),
  maxLength: 8,
});

test("patterns mean here what they mean to the server", () => {
  fc.assert(
    fc.property(patterns, letters, (pattern, name) => {
      expect(compilePattern(pattern)(name)).toBe(compileServers(pattern)(name));
    }),
    { numRuns: 3000 },
  );
  expect(compilePattern("TRIP_*|DRIVER")("TRIP_APPROVED")).toBe(true);
});
