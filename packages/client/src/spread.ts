/**
 * Refreshes that ask to be spread wait for a random part of the time they name, so that not everybody fetches at once. What comes
 * meanwhile for the same scope joins the one that waits.
 */
import type { Refresh } from "./types.ts";

interface Waiting {
  readonly timer: ReturnType<typeof setTimeout>;
  refreshes: Refresh[];
}

/** With payloads, which are not merged. */
const MAX_WAITING = 1000;

export class Spread {
  readonly #deliver: (refresh: Refresh) => void;
  readonly #waiting = new Map<string, Waiting>();

  constructor(deliver: (refresh: Refresh) => void) {
    this.#deliver = deliver;
  }

  add(refresh: Refresh, spreadMs = 0): void {
    const { scope } = refresh;
    let waiting = this.#waiting.get(scope);
    if (waiting === undefined) {
      if (spreadMs <= 0) {
        this.#deliver(refresh);
        return;
      }
      waiting = { refreshes: [], timer: setTimeout(() => this.#flush(scope), Math.random() * spreadMs) };
      this.#waiting.set(scope, waiting);
    }
    if (refresh.payload === undefined)
      waiting.refreshes = waiting.refreshes.filter(({ payload }) => payload !== undefined);
    waiting.refreshes.push(refresh);
    if (waiting.refreshes.length >= MAX_WAITING) this.#flush(scope);
  }

  clear(): void {
    for (const { timer } of this.#waiting.values()) clearTimeout(timer);
    this.#waiting.clear();
  }

  #flush(scope: string): void {
    const waiting = this.#waiting.get(scope);
    if (waiting === undefined) return;
    clearTimeout(waiting.timer);
    this.#waiting.delete(scope);
    for (const refresh of waiting.refreshes) this.#deliver(refresh);
  }
}
