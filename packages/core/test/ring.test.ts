import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import fc from "fast-check";
import { expect, test } from "vitest";
import { entryBytes, Ring } from "../src/index.ts";
import { entries, entry, gapEntry, message } from "./support.ts";

setFlagsFromString("--expose_gc");
const collectGarbage = runInNewContext("gc") as () => void;

const roomy = { maxEntries: 1000, maxBytes: 10_000_000 };

function filled(limits: { maxEntries: number; maxBytes: number }, from: number, to: number): Ring {
  const ring = new Ring(limits);
  ring.reset({ epoch: 7, n: from - 1 });
  for (const item of entries(7, from, to)) ring.push(item);
  return ring;
}

test("it gives everything after a position that it reaches", () => {
  const ring = filled(roomy, 11, 20);

  expect(ring.after({ epoch: 7, n: 10 })).toEqual(entries(7, 11, 20));
  expect(ring.after({ epoch: 7, n: 17 })).toEqual(entries(7, 18, 20));
  expect(ring.after({ epoch: 7, n: 20 })).toEqual([]);
});

test("it knows nothing of what is before, ahead or of another epoch", () => {
  const ring = filled(roomy, 11, 20);

  expect(ring.after({ epoch: 7, n: 9 })).toBeUndefined();
  expect(ring.after({ epoch: 7, n: 21 })).toBeUndefined();
  expect(ring.after({ epoch: 6, n: 15 })).toBeUndefined();
  expect(ring.after({ epoch: 8, n: 15 })).toBeUndefined();
});

test("after a reset it goes on from there and nowhere else", () => {
  const ring = filled(roomy, 11, 20);

  ring.reset({ epoch: 8, n: 3 });
  ring.push(entry(8, 4));

  expect(ring.after({ epoch: 8, n: 3 })).toEqual([entry(8, 4)]);
  expect(ring.after({ epoch: 7, n: 15 })).toBeUndefined();
  expect([ring.size, ring.bytes]).toEqual([1, entryBytes(entry(8, 4))]);
});

test("it holds the newest within its bounds, however much comes", () => {
  fc.assert(
    fc.property(
      fc.integer({ min: 1, max: 30 }),
      fc.integer({ min: 0, max: 9000 }),
      fc.integer({ min: 0, max: 3000 }),
      (maxEntries, maxBytes, count) => {
        const ring = filled({ maxEntries, maxBytes }, 1, count);
        const oldest = count - ring.size + 1;

        expect(ring.size).toBeLessThanOrEqual(maxEntries);
        expect(ring.bytes <= maxBytes || ring.size === 1).toBe(true);
        expect(ring.bytes).toBe(entries(7, oldest, count).reduce((sum, item) => sum + entryBytes(item), 0));
        expect(ring.after({ epoch: 7, n: oldest - 1 })).toEqual(entries(7, oldest, count));
        expect(ring.after({ epoch: 7, n: oldest - 2 })).toBeUndefined();
        expect([...ring.newestFirst()]).toEqual(entries(7, oldest, count).toReversed());
      },
    ),
    { numRuns: 60 },
  );
});

test("one entry larger than the bound is held alone", () => {
  const ring = filled({ maxEntries: 10, maxBytes: 2000 }, 1, 3);

  ring.push({ ...message("chat", "x".repeat(5000)), id: "7-4", timestampMs: 0 });

  expect(ring.size).toBe(1);
  expect(ring.after({ epoch: 7, n: 3 })).toHaveLength(1);
});

test("what was dropped can be collected at once", async () => {
  const ring = new Ring({ maxEntries: 2, maxBytes: 10_000_000 });
  ring.reset({ epoch: 7, n: 0 });
  const dropped = (() => {
    const first = entry(7, 1);
    ring.push(first);
    return new WeakRef(first);
  })();

  for (const item of entries(7, 2, 5)) ring.push(item);

  // The job that made the reference has to be over; `deref` itself would hold on to the target for another.
  await new Promise((resolve) => setImmediate(resolve));
  collectGarbage();
  expect(dropped.deref()).toBeUndefined();
});

test("recipients and gaps count too", () => {
  const users = Array.from({ length: 1000 }, (_, i) => `user-${i}`);

  expect(entryBytes({ ...message("chat"), to: { users }, id: "7-1", timestampMs: 0 })).toBeGreaterThan(30_000);
  expect(entryBytes(gapEntry(7, 1, users))).toBeGreaterThan(30_000);
  expect(entryBytes(gapEntry(7, 1))).toBeLessThan(1000);
});
