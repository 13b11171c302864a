/** Lets a log line through at most once per key and interval, and says how many were held back. */
export class Rarely {
  readonly #intervalMs: number;
  readonly #seen = new Map<string, { at: number; heldBack: number }>();

  constructor(intervalMs: number) {
    this.#intervalMs = intervalMs;
  }

  /** Calls `log` with the number of lines held back since the last one, or holds this one back. */
  say(key: string, log: (heldBack: number) => void): void {
    const now = performance.now();
    const last = this.#seen.get(key);
    if (last !== undefined && now - last.at < this.#intervalMs) {
      last.heldBack++;
      return;
    }
    if (last === undefined && this.#seen.size >= MAX_KEYS) this.#seen.clear();
    this.#seen.set(key, { at: now, heldBack: 0 });
    log(last?.heldBack ?? 0);
  }
}

const MAX_KEYS = 1_000;
