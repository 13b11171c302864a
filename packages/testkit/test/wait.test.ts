import { expect, test } from "vitest";
import { waitFor } from "../src/index.ts";

test("waitFor answers with what the condition answered", async () => {
  let asked = 0;

  const answer = await waitFor(() => ++asked === 3 && "third", { what: "the third", everyMs: 1 });

  expect(answer).toBe("third");
});

test("waitFor says what it waited for, and why it was in vain", async () => {
  const never = () => Promise.reject(new Error("no route"));

  await expect(waitFor(never, { what: "the moon", timeoutMs: 30, everyMs: 5 })).rejects.toThrow(
    "gave up waiting for the moon after 30 ms (no route)",
  );
});

test("waitFor is bounded though its condition hangs", async () => {
  const hangs = () => new Promise<boolean>(() => {});

  await expect(waitFor(hangs, { what: "nothing", timeoutMs: 30 })).rejects.toThrow("gave up waiting for nothing");
});
