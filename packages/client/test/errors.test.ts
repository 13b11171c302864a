import { ERRORS } from "@carillon/protocol";
import { expect, test } from "vitest";
import { RETRYABLE } from "../src/errors.ts";

test("what is asked for again is what the protocol calls retryable", () => {
  const retryable = Object.entries(ERRORS).filter(([, kind]) => kind.retryable);

  expect(retryable.map(([code]) => code)).toEqual(expect.arrayContaining([...RETRYABLE]));
});
