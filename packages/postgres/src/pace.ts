import { setTimeout as sleep } from "node:timers/promises";

/** Lets things happen at once while they are few, and `perSecond` of them where they would be more. */
export class Pace {
  readonly #everyMs: number;
  readonly #burst: number;
  #credit: number;
  #at = performance.now();

  constructor({ perSecond, burst }: { readonly perSecond: number; readonly burst: number }) {
    this.#everyMs = 1000 / perSecond;
    this.#burst = burst;
    this.#credit = burst;
  }

  /** Resolves when the next may happen, with whether it had to wait, or when `signal` is aborted. */
  async next(signal: AbortSignal): Promise<boolean> {
    this.#refill();
    const waits = this.#credit < 1;
    if (waits) {
      await sleep((1 - this.#credit) * this.#everyMs, undefined, { signal }).catch(() => {});
      this.#refill();
    }
    this.#credit--;
    return waits;
  }

  #refill(): void {
    const now = performance.now();
    this.#credit = Math.min(this.#credit + (now - this.#at) / this.#everyMs, this.#burst);
    this.#at = now;
  }
}
