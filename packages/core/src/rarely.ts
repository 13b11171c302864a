const MAX_KEYS = 1_000;

/**
 * Lets a log line through at most once per key and interval, and says how many were held back: what is broken must not fill the
 * disk.
 */
export class Rarely {
  readonly #intervalMs: number;
  readonly #nowMs: () => number;
  readonly #said = new Map<string, { readonly untilMs: number; heldBack: number }>();

  constructor(intervalMs: number, nowMs: () => number = () => performance.now()) {
    this.#intervalMs = intervalMs;
    this.#nowMs = nowMs;
  }

  /** Keys remembered now. */
  get size(): number {
    return this.#said.size;
  }

  /** Calls `log` with the number of lines held back since the last one, or holds this one back. */
  say(key: string, log: (heldBack: number) => void): void {
    const now = this.#nowMs();
    const last = this.#said.get(key);
    if (last !== undefined && now < last.untilMs) {
      last.heldBack++;
      return;
    }
    if (last === undefined) this.#makeRoom(now);
    this.#said.set(key, { untilMs: now + this.#intervalMs, heldBack: 0 });
    log(last?.heldBack ?? 0);
  }

  /** Keys may hold names from the outside, so their number is bounded: what is over goes first, then the oldest. */
  #makeRoom(now: number): void {
    if (this.#said.size < MAX_KEYS) return;
    for (const [key, { untilMs }] of this.#said) if (untilMs <= now) this.#said.delete(key);
    const oldest = this.#said.keys().next();
    if (this.#said.size >= MAX_KEYS && oldest.done === false) this.#said.delete(oldest.value);
  }
}
