import { type Audience, isGap, type LogEntry, type Position } from "@carillon/protocol";

export interface RingLimits {
  readonly maxEntries: number;
  readonly maxBytes: number;
}

/** The newest stretch of the log, without holes and of one epoch, in memory: what most catching up is served from. */
export class Ring {
  readonly #limits: RingLimits;
  /** What was dropped leaves a hole at once, so that it can be collected; the holes are cut off in steps. */
  #entries: (LogEntry | undefined)[] = [];
  /** Index of the oldest entry still held. */
  #start = 0;
  #bytes = 0;
  /** The position just before the oldest entry. */
  #base: Position = { epoch: 0, n: 0 };

  constructor(limits: RingLimits) {
    this.#limits = limits;
  }

  get size(): number {
    return this.#entries.length - this.#start;
  }

  get bytes(): number {
    return this.#bytes;
  }

  /** Forgets everything and goes on after `position`. */
  reset(position: Position): void {
    this.#entries = [];
    this.#start = 0;
    this.#bytes = 0;
    this.#base = position;
  }

  /** The entry MUST be the one after the newest held. */
  push(entry: LogEntry): void {
    this.#entries.push(entry);
    this.#bytes += entryBytes(entry);
    while (this.size > this.#limits.maxEntries || (this.#bytes > this.#limits.maxBytes && this.size > 1))
      this.#dropOldest();
  }

  /** Every entry after `position`, or `undefined` where the ring does not reach back that far, or to that epoch. */
  after(position: Position): LogEntry[] | undefined {
    const skip = position.n - this.#base.n;
    if (position.epoch !== this.#base.epoch || skip < 0 || skip > this.size) return undefined;
    return this.#entries.slice(this.#start + skip) as LogEntry[];
  }

  *newestFirst(): Generator<LogEntry> {
    for (let i = this.#entries.length - 1; i >= this.#start; i--) yield this.#entries[i]!;
  }

  #dropOldest(): void {
    this.#bytes -= entryBytes(this.#entries[this.#start]!);
    this.#entries[this.#start++] = undefined;
    this.#base = { epoch: this.#base.epoch, n: this.#base.n + 1 };
    if (this.#start >= 1024 && this.#start * 2 > this.#entries.length) {
      this.#entries = this.#entries.slice(this.#start);
      this.#start = 0;
    }
  }
}

/** An estimate: text at two bytes a character, and the objects around it. */
export function entryBytes(entry: LogEntry): number {
  if (isGap(entry)) return 256 + namesBytes(entry.gap.channels);
  return 256 + 2 * ((entry.payload?.length ?? 0) + (entry.truncated?.length ?? 0)) + audienceBytes(entry.to);
}

function audienceBytes(to: Audience | undefined): number {
  if (to === undefined) return 0;
  const { users, roles, tenants, rooms, except } = to;
  const lists = [users, roles, tenants, rooms, except?.users, except?.rooms, except?.sockets];
  return lists.reduce((sum, list) => sum + namesBytes(list), 0);
}

function namesBytes(names: readonly string[] | undefined): number {
  return names === undefined ? 0 : names.reduce((sum, name) => sum + 32 + 2 * name.length, 0);
}
