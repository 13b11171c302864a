import { expect, test } from "vitest";
import { compileGlob } from "../src/glob.ts";

test.each([
  ["trip.*", ["trip.", "trip.a.b"], ["trip", "trips.a", "xtrip.a"]],
  ["t?p", ["tip", "t.p"], ["tp", "tiip"]],
  ["t[a-c]p", ["tap", "tcp"], ["tdp", "t-p"]],
  ["t[^a]p", ["tbp"], ["tap", "tp"]],
  ["a\\*b", ["a*b"], ["axb"]],
  ["a[b", ["a[b"], ["ab"]],
  ["*", ["", "anything\nat all"], []],
  ["a+(b)", ["a+(b)"], ["aab"]],
])("%s matches as Redis does", (pattern, yes, no) => {
  const matches = compileGlob(pattern);

  expect(yes.filter(matches)).toEqual(yes);
  expect(no.filter(matches)).toEqual([]);
});
