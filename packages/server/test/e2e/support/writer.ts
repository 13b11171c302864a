import { setTimeout as sleep } from "node:timers/promises";

export interface Writer {
  /** How many were begun. */
  readonly count: number;
  /** When each was begun, by `performance.now()`. */
  readonly written: ReadonlyMap<number, number>;
  /** Resolves when `n` were begun; rejects when the writing failed. */
  reached(n: number): Promise<void>;
  /** Ends it once `atLeast` were begun. Resolves, with the number of all, when the last one is done. */
  end(atLeast: number): Promise<number>;
}

const MAX_UNDER_WAY = 200;

/** Calls `write(0)`, `write(1)`, … at a steady rate, without waiting for each, until it is ended. A write that fails ends it. */
export function startWriter(perS: number, write: (n: number) => Promise<unknown>): Writer {
  let count = 0;
  let least = Number.POSITIVE_INFINITY;
  const written = new Map<number, number>();
  const underWay = new Set<Promise<unknown>>();
  const marks: { n: number; resolve: () => void }[] = [];

  const run = async () => {
    const startedMs = performance.now();
    while (count < least) {
      const due = Math.min(((performance.now() - startedMs) / 1000) * perS, least);
      while (count < due) {
        written.set(count, performance.now());
        const writing = write(count).finally(() => underWay.delete(writing));
        underWay.add(writing);
        count++;
        for (const mark of marks) if (count >= mark.n) mark.resolve();
        if (underWay.size >= MAX_UNDER_WAY) await Promise.all(underWay);
      }
      await sleep(5);
    }
    await Promise.all(underWay);
    return count;
  };
  const done = run();
  done.catch(() => {}); // whoever waits hears of it

  return {
    get count() {
      return count;
    },
    written,
    reached: (n) =>
      Promise.race([
        done.then(() => {}),
        new Promise<void>((resolve) => {
          if (count >= n) resolve();
          else marks.push({ n, resolve });
        }),
      ]),
    end(atLeast) {
      least = Math.max(atLeast, count);
      return done;
    },
  };
}
