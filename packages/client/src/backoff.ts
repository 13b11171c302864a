/** The next wait. */
export type Backoff = () => number;

/** Ever longer waits, each at random between half of it and all: those who were cut off together do not come back together. */
export function createBackoff(minMs: number, maxMs: number): Backoff {
  let attempts = 0;
  return () => Math.min(minMs * 2 ** attempts++, maxMs) * (0.5 + Math.random() / 2);
}
