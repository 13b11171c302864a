import type { Logger } from "@carillon/core";

const MINUTE_MS = 60_000;
const MAX_KINDS = 1000;

/**
 * At most one line per kind and minute: a broken publisher must not fill the disk. The line after a silence says in `suppressed`
 * how many were left out since the last one.
 */
export class LimitedLog {
  readonly #logger: Pick<Logger, "warn">;
  readonly #nowMs: () => number;
  readonly #kinds = new Map<string, { untilMs: number; suppressed: number }>();

  constructor(logger: Pick<Logger, "warn">, nowMs: () => number = Date.now) {
    this.#logger = logger;
    this.#nowMs = nowMs;
  }

  /** Kinds remembered now. */
  get size(): number {
    return this.#kinds.size;
  }

  /** `kind` decides what counts as the same: a reason and, where there is one, a channel. */
  warn(kind: string, fields: object, message: string): void {
    const now = this.#nowMs();
    const known = this.#kinds.get(kind);
    if (known !== undefined && now < known.untilMs) {
      known.suppressed++;
      return;
    }
    if (known === undefined) this.#makeRoom(now);
    this.#kinds.set(kind, { untilMs: now + MINUTE_MS, suppressed: 0 });
    const suppressed = known?.suppressed ?? 0;
    this.#logger.warn(suppressed > 0 ? { ...fields, kind, suppressed } : { ...fields, kind }, message);
  }

  /** Kinds may hold names from the outside, so their number is bounded: what is over goes first, then the oldest. */
  #makeRoom(now: number): void {
    if (this.#kinds.size < MAX_KINDS) return;
    for (const [kind, { untilMs }] of this.#kinds) if (untilMs <= now) this.#kinds.delete(kind);
    const oldest = this.#kinds.keys().next();
    if (this.#kinds.size >= MAX_KINDS && oldest.done === false) this.#kinds.delete(oldest.value);
  }
}
