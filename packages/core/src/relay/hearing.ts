/**
 * What this node has heard of a feed, counted so that "the third message on this channel after mark 17" is the same message to everybody
 * who hears it.
 */
import type { FencePosition, Mark } from "../ports.ts";

const MAX_HEARD = 100;

export class Hearing {
  /** The newest mark heard; 0 before the first. */
  #mark = 0;
  /** Messages since that mark, by channel. */
  readonly #index = new Map<string, number>();
  /** The first mark since which everything was heard; `undefined` while that is nothing. */
  #since: number | undefined;
  /** Channels opened later than the rest, with the first mark after; `undefined` until it came. */
  readonly #channelSince = new Map<string, number | undefined>();
  /** Whether it is proven that whatever is not reported as done was heard here; until then, the marks heard. */
  #agreed = false;
  #heard: number[] = [];

  get mark(): number {
    return this.#mark;
  }

  /** Whether the feed and its marks are heard. */
  get synced(): boolean {
    return this.#since !== undefined;
  }

  /** Whether everything that is not reported as done was heard here, and counted as by all others. */
  get agreed(): boolean {
    return this.#agreed;
  }

  /** Those that were opened. */
  get channels(): readonly string[] {
    return [...this.#channelSince.keys()];
  }

  /** Channels that had messages since the newest mark. */
  get busyChannels(): number {
    return this.#index.size;
  }

  /** The position of the message that just came; `undefined` before the first mark, since listeners would differ about it. */
  next(channel: string): FencePosition | undefined {
    if (this.#since === undefined) return undefined;
    if (this.#channelSince.has(channel) && this.#channelSince.get(channel) === undefined) return undefined;
    const index = (this.#index.get(channel) ?? 0) + 1;
    this.#index.set(channel, index);
    return [this.#mark, index];
  }

  /** A mark above the newest. Returns the channels that were opened while the others were heard, and are heard from here on. */
  advance({ mark, done }: Mark): readonly string[] {
    this.#agree(mark, done);
    this.#mark = mark;
    this.#index.clear();
    const wasSynced = this.synced;
    this.#since ??= mark;
    const opened = this.channels.filter((channel) => this.#channelSince.get(channel) === undefined);
    for (const channel of opened) this.#channelSince.set(channel, mark);
    return wasSynced ? opened : [];
  }

  /**
   * A report about a mark that was heard here proves that nothing is missing here since, and that all count alike from there on.
   * Comparing numbers would not do: the first mark that is heard may be one that was late, and that the others ignored.
   */
  #agree(mark: number, done: number): void {
    if (this.#agreed) return;
    this.#agreed = this.#heard.includes(done);
    this.#heard.push(mark);
    if (this.#agreed || this.#heard.length > MAX_HEARD) this.#heard.splice(0, this.#agreed ? this.#heard.length : 1);
  }

  /** The opened channels that have been heard for less long than since this mark. */
  openedAfter(mark: number): readonly string[] {
    return this.channels.filter((channel) => this.#channelSince.get(channel)! > mark);
  }

  open(channel: string): void {
    this.#channelSince.set(channel, undefined);
  }

  close(channel: string): void {
    this.#channelSince.delete(channel);
  }

  /** Something may have been missed: nothing counts until the next mark. */
  interrupt(): void {
    this.#since = undefined;
    this.#agreed = false;
    this.#heard = [];
    this.#index.clear();
    for (const channel of this.#channelSince.keys()) this.#channelSince.set(channel, undefined);
  }
}
