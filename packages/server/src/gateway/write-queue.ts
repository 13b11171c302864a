/**
 * Transports that have something to write. All of them are written at the end of the turn of the event loop in which it was handed
 * to them, so that a burst leaves in one write for each; a slice at a time, so that heartbeats and other work get their turn
 * in between. None waits here twice, so that it is never longer than the transports are many.
 */
import { Batch } from "./batch.ts";

export interface Writer {
  flush(): void;
}

/** Longer than this no other work waits for writes. */
const SLICE_MS = 4;
/** Asking for the time costs something too. */
const WRITES_PER_LOOK = 32;

export class WriteQueue {
  #waiting: Writer[] = [];
  #scheduled = false;
  #nothing = new Batch();

  /** What every batch begins with. */
  get nothing(): Batch {
    return this.#nothing;
  }

  /** Called by a writer that had nothing to write until now. */
  add(writer: Writer): void {
    this.#waiting.push(writer);
    this.#schedule();
  }

  #schedule(): void {
    if (this.#scheduled) return;
    this.#scheduled = true;
    setImmediate(() => {
      this.#scheduled = false;
      this.#write();
    });
  }

  #write(): void {
    const waiting = this.#waiting;
    const until = performance.now() + SLICE_MS;
    let next = 0;
    do {
      const end = Math.min(next + WRITES_PER_LOOK, waiting.length);
      while (next < end) waiting[next++]!.flush();
    } while (next < waiting.length && performance.now() < until);
    if (next < waiting.length) {
      // Without those that are done: a node that is never idle never comes to the end.
      this.#waiting = waiting.slice(next);
      this.#schedule();
      return;
    }
    this.#waiting = [];
    // Otherwise the last broadcast would be held until the next one.
    this.#nothing = new Batch();
  }
}

/** One event loop, one queue. */
export const writeQueue = new WriteQueue();
