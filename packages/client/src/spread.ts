/**
 * Refreshes that ask to be spread wait for a random part of the time they name, so that not everybody fetches at once. A newer one
 * of the same scope takes the place of the one that waits; those with a payload each wait for themselves.
 */
import type { Refresh } from "./types.ts";

interface Waiting {
  readonly timer: ReturnType<typeof setTimeout>;
  refresh: Refresh;
}

/** More than these don't wait. */
const MAX_WAITING = 1000;

export class Spread {
  readonly #deliver: (refresh: Refresh) => void;
  readonly #waiting = new Map<string, Waiting>();

  constructor(deliver: (refresh: Refresh) => void) {
    this.#deliver = deliver;
  }

  add(refresh: Refresh, spreadMs = 0): void {
    const { scope, payload, id } = refresh;
    // No scope has a blank.
    const key = payload === undefined ? scope : ` ${id}`;
    const waiting = this.#waiting.get(key);
    if (waiting !== undefined) waiting.refresh = refresh;
    else if (spreadMs <= 0 || this.#waiting.size >= MAX_WAITING) this.#deliver(refresh);
    else this.#waiting.set(key, { refresh, timer: setTimeout(() => this.#end(key), Math.random() * spreadMs) });
  }

  clear(): void {
    for (const { timer } of this.#waiting.values()) clearTimeout(timer);
    this.#waiting.clear();
  }

  #end(key: string): void {
    const waiting = this.#waiting.get(key);
    this.#waiting.delete(key);
    if (waiting !== undefined) this.#deliver(waiting.refresh);
  }
}
