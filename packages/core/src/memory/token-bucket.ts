import type { TokenBucket } from "../ports.ts";

/** Of one node alone. */
export class MemoryTokenBucket implements TokenBucket {
  readonly #perSecond: number;
  #tokens: number;
  #filledAt = performance.now();

  constructor(perSecond: number) {
    this.#perSecond = perSecond;
    this.#tokens = perSecond;
  }

  async take(tokens: number): Promise<number> {
    const now = performance.now();
    this.#tokens = Math.min(this.#tokens + ((now - this.#filledAt) / 1000) * this.#perSecond, this.#perSecond);
    this.#filledAt = now;
    const missing = tokens - this.#tokens;
    if (missing > 0) return Math.ceil((missing / this.#perSecond) * 1000);
    this.#tokens -= tokens;
    return 0;
  }
}
