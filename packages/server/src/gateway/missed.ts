import { isGap, type LogEntry, type Position, parseId } from "@carillon/protocol";
import { hears } from "./audience.ts";
import type { Connection } from "./connection.ts";

/**
 * Collects what one connection missed, in order and only what it may hear now. Refreshes without payload are merged per channel
 * and scope, and gaps per channel: the latest stands for all of them.
 */
export class Missed {
  readonly #connection: Connection;
  readonly #maxBytes: number;
  readonly #entries = new Map<string, LogEntry>();
  #bytes = 0;

  constructor(connection: Connection, maxBytes: number) {
    this.#connection = connection;
    this.#maxBytes = maxBytes;
  }

  readonly visit = (entries: readonly LogEntry[]): void => {
    if (this.tooMuch) return;
    for (const entry of entries) if (hears(this.#connection, entry)) this.#add(entry);
  };

  /** More than may be held for one connection: it is told a gap instead. */
  get tooMuch(): boolean {
    return this.#bytes > this.#maxBytes;
  }

  /** In id order, each with its position. */
  *entries(): Generator<readonly [LogEntry, Position]> {
    for (const entry of this.#entries.values()) yield [entry, parseId(entry.id)!];
  }

  get size(): number {
    return this.#entries.size;
  }

  #add(entry: LogEntry): void {
    const key = mergeKey(entry);
    // Deleted first, so that the latest stands where it belongs in the order.
    if (!this.#entries.delete(key)) this.#bytes += 256 + (isGap(entry) ? 0 : 2 * ((entry.payload?.length ?? 0) + (entry.truncated?.length ?? 0)));
    this.#entries.set(key, entry);
  }
}

function mergeKey(entry: LogEntry): string {
  if (isGap(entry)) return `gap ${entry.gap.channels?.join(" ") ?? ""}`;
  if (entry.scope !== undefined && entry.payload === undefined) return `refresh ${entry.channel} ${entry.scope}`;
  return entry.id;
}
