/** Ever longer waits, each at random between half of it and all: those who were cut off together do not come back together. */
export class Backoff {
  readonly #minMs: number;
  readonly #maxMs: number;
  #attempts = 0;

  constructor(minMs: number, maxMs: number) {
    this.#minMs = minMs;
    this.#maxMs = maxMs;
  }

  next(): number {
    const ms = Math.min(this.#minMs * 2 ** this.#attempts++, this.#maxMs);
    return ms * (0.5 + Math.random() / 2);
  }

  reset(): void {
    this.#attempts = 0;
  }
}
