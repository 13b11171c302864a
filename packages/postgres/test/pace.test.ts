import { expect, test } from "vitest";
import { Pace } from "../src/pace.ts";

test("a burst goes at once, and what comes after it waits its turn or for the end", async () => {
  const pace = new Pace({ perSecond: 0.001, burst: 2 });
  const ends = new AbortController();
  const { signal } = ends;

  expect(await Promise.all([pace.next(signal), pace.next(signal)])).toEqual([false, false]);
  const third = pace.next(signal);
  const early = await Promise.race([third, new Promise((resolve) => setTimeout(resolve, 50, "still waits"))]);
  ends.abort();

  expect(early).toBe("still waits");
  expect(await third).toBe(true);
});

test("what waited goes when its time has come", async () => {
  const pace = new Pace({ perSecond: 50, burst: 1 });
  const { signal } = new AbortController();
  const startedAt = performance.now();

  for (let n = 0; n < 4; n++) await pace.next(signal);

  expect(performance.now() - startedAt).toBeGreaterThan(50); // three of 20 ms, but for a timer's inaccuracy
});
