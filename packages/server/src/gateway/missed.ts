import { isGap, type LogEntry, type Position, parseId } from "@carillon/protocol";
import { hears } from "./audience.ts";
import type { Connection } from "./connection.ts";

/** What all connections together hold of missed publications just now. */
export interface Held {
  bytes: number;
  readonly maxBytes: number;
}

/**
 * Collects what one connection missed, in order and only what it may hear now. Refreshes without payload are merged per channel
 * and scope, and gaps per channel: the latest stands for all of them.
 */
export class Missed {
  readonly #connection: Connection;
  readonly #maxBytes: number;
  readonly #held: Held;
  readonly #entries = new Map<string, LogEntry>();
  #bytes = 0;
  #tooMuch = false;
  #hasGap = false;

  constructor(connection: Connection, maxBytes: number, held: Held) {
    this.#connection = connection;
    this.#maxBytes = maxBytes;
    this.#held = held;
  }

  readonly visit = (entries: readonly LogEntry[]): void => {
    for (const entry of entries) {
      if (this.#tooMuch) return;
      if (hears(this.#connection, entry)) this.#add(entry);
    }
  };

  /** More than may be held for one connection, or for all together: it is told a gap instead. */
  get tooMuch(): boolean {
    return this.#tooMuch;
  }

  /** Whether one of the entries says that something is missing. */
  get hasGap(): boolean {
    return this.#hasGap;
  }

  /** In id order, each with its position. */
  *entries(): Generator<readonly [LogEntry, Position]> {
    for (const entry of this.#entries.values()) yield [entry, parseId(entry.id)!];
  }

  /** Lets go of what was written to `connection`, and of all that is more than `maxBytes` ahead. */
  keep(connection: Connection, maxBytes: number): void {
    let kept = 0;
    for (const [key, entry] of this.#entries) {
      const bytes = sizeOf(entry);
      if (connection.awaits(parseId(entry.id)!) && kept + bytes <= maxBytes) kept += bytes;
      else {
        // Nothing may be left out in between.
        if (connection.awaits(parseId(entry.id)!)) kept = Number.POSITIVE_INFINITY;
        this.#entries.delete(key);
        this.#bytes -= bytes;
        this.#held.bytes -= bytes;
      }
    }
  }

  /** MUST be called when it is done with. */
  release(): void {
    this.#entries.clear();
    this.#held.bytes -= this.#bytes;
    this.#bytes = 0;
  }

  #add(entry: LogEntry): void {
    const key = mergeKey(entry);
    this.#hasGap ||= isGap(entry);
    // Deleted first, so that the latest stands where it belongs in the order.
    if (!this.#entries.delete(key)) {
      const bytes = sizeOf(entry);
      this.#bytes += bytes;
      this.#held.bytes += bytes;
    }
    this.#entries.set(key, entry);
    if (this.#bytes <= this.#maxBytes && this.#held.bytes <= this.#held.maxBytes) return;
    this.#tooMuch = true;
    this.release();
  }
}

/** An estimate: text at two bytes a character, and the objects around it. */
export function sizeOf(entry: LogEntry): number {
  return 256 + (isGap(entry) ? 0 : 2 * ((entry.payload?.length ?? 0) + (entry.truncated?.length ?? 0)));
}

/** Names can't have a blank, so that no two kinds of key are equal. */
function mergeKey(entry: LogEntry): string {
  if (isGap(entry)) return `gap ${entry.gap.channels?.join(" ") ?? ""}`;
  if (entry.scope !== undefined && entry.payload === undefined && entry.truncated === undefined)
    return `refresh ${entry.channel} ${entry.scope}`;
  return entry.id;
}
