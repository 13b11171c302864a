/**
 * What a relay heard and does not know to be in the log, oldest first. Bounded by number and bytes: where that bites, a gap stands
 * before everything that is still kept.
 */
import type { ChannelName } from "@carillon/protocol";
import type { FencePosition } from "../ports.ts";

export interface KeptMessage {
  readonly channel: string;
  readonly text: string;
  readonly position: FencePosition;
  /** Of the log when it was heard. */
  readonly epoch: number | undefined;
}

export interface KeptGap {
  readonly gap: readonly ChannelName[];
  /** While the gap isn't in the log nothing from here on may be called done, nor forgotten before all up to `until` is. */
  readonly position: FencePosition;
  readonly until: FencePosition;
  /** Said to be carried once the gap is in the log, so that a subscriber who waits for that does not hear of the gap. */
  readonly carried: readonly string[];
}

export type Kept = KeptMessage | KeptGap;

export interface KeptQueueOptions {
  readonly maxKept: number;
  readonly maxBytes: number;
  /** The channels that a dropped message may have been for. */
  readonly affected: () => readonly ChannelName[];
  readonly onDropped: (messages: number) => void;
}

export class KeptQueue {
  readonly #options: KeptQueueOptions;
  #items: Kept[] = [];
  #bytes = 0;

  constructor(options: KeptQueueOptions) {
    this.#options = options;
  }

  get length(): number {
    return this.#items.length;
  }

  get oldest(): Kept | undefined {
    return this.#items[0];
  }

  /** The oldest `count`. */
  page(count: number): readonly Kept[] {
    return this.#items.slice(0, count);
  }

  push(kept: Kept): void {
    this.#items.push(kept);
    this.#bytes += sizeOf(kept);
    this.#bound();
  }

  /** Ahead of everything that is kept. */
  putFirst(gap: KeptGap): void {
    this.#items.unshift(gap);
    this.#bytes += sizeOf(gap);
    this.#bound();
  }

  /** Takes out a page. Some of it may have been dropped or forgotten meanwhile. */
  remove(page: readonly Kept[]): void {
    const done = new Set(page);
    this.#items = this.#items.filter((kept, index) => {
      if (index > page.length || !done.has(kept)) return true;
      this.#bytes -= sizeOf(kept);
      return false;
    });
  }

  /** Drops what was reported as done: everything before that mark. */
  forget(done: number): void {
    const firstKept = this.#items.findIndex((kept) => ("gap" in kept ? kept.until : kept.position)[0] >= done);
    this.#dropFirst(firstKept === -1 ? this.#items.length : firstKept);
  }

  /** Drops the messages that were heard while the log was in another epoch. Returns how many. */
  dropOtherEpochs(epoch: number): number {
    const isStale = (kept: Kept) => !("gap" in kept) && kept.epoch !== undefined && kept.epoch !== epoch;
    const stale = this.#items.filter(isStale);
    if (stale.length === 0) return 0;
    for (const kept of stale) this.#bytes -= sizeOf(kept);
    this.#items = this.#items.filter((kept) => !isStale(kept));
    return stale.length;
  }

  clear(): void {
    this.#items = [];
    this.#bytes = 0;
  }

  #bound(): void {
    const { maxKept, maxBytes } = this.#options;
    while (this.#items.length > 1 && (this.#items.length > maxKept || this.#bytes > maxBytes)) this.#dropOldest();
  }

  /** In steps, since the array moves each time. */
  #dropOldest(): void {
    const { maxKept, affected, onDropped } = this.#options;
    const dropped = this.#dropFirst(1 + Math.ceil(maxKept / 50));
    const first = dropped[0]!;
    const last = dropped.at(-1)!;
    const gap: KeptGap = {
      gap: affected(),
      position: first.position,
      until: "gap" in last ? last.until : last.position,
      carried: [...new Set(dropped.flatMap((kept) => ("gap" in kept ? kept.carried : [])))],
    };
    this.#items.unshift(gap);
    this.#bytes += sizeOf(gap);
    onDropped(dropped.filter((kept) => !("gap" in kept)).length);
  }

  #dropFirst(count: number): Kept[] {
    if (count === 0) return [];
    const dropped = this.#items.splice(0, count);
    for (const kept of dropped) this.#bytes -= sizeOf(kept);
    return dropped;
  }
}

function sizeOf(kept: Kept): number {
  return 128 + ("gap" in kept ? 16 * (kept.gap.length + kept.carried.length) : 2 * kept.text.length);
}
