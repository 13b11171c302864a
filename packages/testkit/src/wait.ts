import { setTimeout as sleep } from "node:timers/promises";

export interface WaitOptions {
  /** What is awaited, as the end of "gave up waiting for …". */
  what: string;
  /** Default 10,000. */
  timeoutMs?: number;
  /** Default 20. */
  everyMs?: number;
  /** An error of the condition ends the waiting instead of meaning "not yet". */
  final?: boolean;
}

/**
 * Asks `condition` again and again until it answers something truthy, and resolves with that answer. An error that it throws counts
 * as "not yet"; the last one is the cause of the error that says what was awaited in vain.
 */
export async function waitFor<T>(condition: () => T | Promise<T>, options: WaitOptions): Promise<Truthy<T>> {
  const { what, timeoutMs = 10_000, everyMs = 20, final = false } = options;
  const deadline = performance.now() + timeoutMs;
  let cause: unknown;
  do {
    try {
      const answer = await within(deadline - performance.now(), condition());
      if (answer) return answer as Truthy<T>;
      cause = undefined;
    } catch (error) {
      if (final && performance.now() < deadline) throw error;
      cause = error;
    }
    await sleep(everyMs);
  } while (performance.now() < deadline);
  const last = cause instanceof Error ? ` (${cause.message})` : "";
  throw new Error(`gave up waiting for ${what} after ${timeoutMs} ms${last}`, { cause });
}

type Truthy<T> = Exclude<T, false | 0 | "" | null | undefined>;

/** A condition that hangs must not make the wait unbounded. */
async function within<T>(ms: number, answer: T | Promise<T>): Promise<T> {
  const timer = new AbortController();
  try {
    return await Promise.race([
      Promise.resolve(answer),
      sleep(Math.max(ms, 1), undefined, { signal: timer.signal }).then(() => {
        throw new Error("the condition itself did not answer");
      }),
    ]);
  } finally {
    timer.abort();
  }
}
