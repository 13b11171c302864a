/**
 * Makes one publication of each message on a lossy ordered feed that all nodes hear (Redis channels, NOTIFY).
 *
 * All listeners hear the feed in one order. The holder of the lease puts a mark into it each second, so that "the third message
 * on this channel after mark 17" means the same to everybody. The holder appends with that position as fence. The others keep
 * what the holder has not yet reported as done and append it again when they take over: the fence drops what was done. Only
 * where nobody who takes over had been listening since the last reported mark is a gap told.
 */
import { CarillonError, type ChannelName, type Draft, type GapDraft } from "@carillon/protocol";
import type { Logger } from "./logger.ts";
import type { Meter } from "./metrics.ts";
import type { AppendRequest, Feed, FeedListener, Lease, Log, Mark } from "./ports.ts";
import type { Ingress, Publish } from "./publish.ts";

export interface RelayOptions {
  readonly feed: Feed;
  readonly lease: Lease;
  readonly publisher: Pick<Publish, "append">;
  readonly log: Pick<Log, "head">;
  readonly ingress: Ingress;
  /** The publications that a message means; none for nonsense. Called by the holder only, so that nonsense counts once. */
  readonly interpret: (channel: string, text: string) => readonly Draft[];
  /** The channels on which something may be missing when the feed was not heard: on these of its channels, or (`undefined`) all. */
  readonly affected: (feedChannels: readonly string[] | undefined) => readonly ChannelName[];
  /** Told by the holder: messages on these are published from here on. */
  readonly onCarried?: (feedChannels: readonly string[]) => void;
  readonly meter: Meter;
  readonly logger: Logger;
  readonly maxKept?: number;
  readonly maxKeptBytes?: number;
}

interface Kept {
  readonly channel: string;
  readonly text: string;
  readonly position: readonly [mark: number, index: number];
}

interface KeptGap {
  readonly gap: readonly ChannelName[];
  readonly position: readonly [mark: number, index: number];
}

const MARK_MS = 1000;
const PAGE = 256;
const RETRY_MIN_MS = 100;
const RETRY_MAX_MS = 2000;

export class Relay implements FeedListener {
  readonly #options: RelayOptions;
  readonly #maxKept: number;
  readonly #maxKeptBytes: number;
  /** Heard and not known to be in the log, oldest first. */
  #kept: (Kept | KeptGap)[] = [];
  #keptBytes = 0;
  /** The newest mark heard since the feed was last interrupted; 0 before the first. */
  #mark = 0;
  /** Messages since that mark, by channel. */
  readonly #index = new Map<string, number>();
  /** The first mark since which everything was heard; `undefined` while that is nothing. */
  #since: number | undefined;
  /** Channels opened later than the rest, with the first mark after; `undefined` until it came. */
  readonly #channelSince = new Map<string, number | undefined>();
  /** All before this mark is in the log, by what the holder reported. */
  #done = 0;
  /** The holder's own state: whether it must tell what it had not heard, at its first mark. */
  #takingOver = false;
  #draining: Promise<void> | undefined;
  #beat: NodeJS.Timeout | undefined;
  #stopped = false;

  constructor(options: RelayOptions) {
    this.#options = options;
    this.#maxKept = options.maxKept ?? 50_000;
    this.#maxKeptBytes = options.maxKeptBytes ?? 32 * 1024 * 1024;
  }

  start(): void {
    this.#options.feed.listen(this);
    this.#options.lease.onChange((held) => this.#leaseChanged(held));
    if (this.#options.lease.held) this.#leaseChanged(true);
  }

  /** Lets what is being appended finish. */
  async stop(): Promise<void> {
    this.#stopped = true;
    clearInterval(this.#beat);
    await this.#draining;
  }

  /** Whether this node hears the feed and its marks. */
  get synced(): boolean {
    return this.#since !== undefined;
  }

  get kept(): number {
    return this.#kept.length;
  }

  message(channel: string, text: string): void {
    const { meter, feed } = this.#options;
    meter.count("feedMessages", 1, { feed: feed.name });
    // Nobody was promised anything before the first mark: positions before it would differ between listeners.
    if (this.#since === undefined || (this.#channelSince.has(channel) && this.#channelSince.get(channel) === undefined)) {
      meter.count("feedDropped", 1, { feed: feed.name, reason: "not_synced" });
      return;
    }
    const index = (this.#index.get(channel) ?? 0) + 1;
    this.#index.set(channel, index);
    this.#keep({ channel, text, position: [this.#mark, index] });
    if (this.#options.lease.held) this.#drain();
  }

  mark({ mark, done }: Mark): void {
    // A mark of a holder that was deposed without knowing it.
    if (mark <= this.#mark) return;
    const covered = this.#since !== undefined && this.#done >= this.#since;
    this.#mark = mark;
    this.#index.clear();
    if (this.#since === undefined) {
      this.#since = mark;
      for (const channel of this.#channelSince.keys()) this.#channelSince.set(channel, mark);
    } else {
      for (const [channel, since] of this.#channelSince) if (since === undefined) this.#opened(channel, mark);
    }
    this.#done = Math.max(this.#done, done);
    if (!this.#options.lease.held) this.#forget(this.#done);
    else if (this.#takingOver) this.#tookOver(covered);
    else this.#drain();
  }

  opened(channel: string): void {
    this.#channelSince.set(channel, undefined);
    // The others' next mark may be a second away, and a subscriber waits for this.
    if (this.#options.lease.held && this.#since !== undefined) void this.#sendMark();
  }

  closed(channel: string): void {
    this.#channelSince.delete(channel);
  }

  interrupted(): void {
    this.#since = undefined;
    this.#index.clear();
    for (const channel of this.#channelSince.keys()) this.#channelSince.set(channel, undefined);
    // Somebody who went on hearing can carry on without a gap.
    if (this.#options.lease.held) {
      this.#options.lease.stepDown();
      this.#takingOver = true;
    }
  }

  #leaseChanged(held: boolean): void {
    clearInterval(this.#beat);
    if (!held || this.#stopped) return;
    this.#takingOver = true;
    this.#beat = setInterval(() => void this.#sendMark(), MARK_MS);
    void this.#sendMark();
    if (this.#since !== undefined && this.#done >= this.#since) this.#drain();
  }

  async #sendMark(): Promise<void> {
    if (!this.#options.lease.held) return;
    const oldest = this.#kept[0];
    const done = this.#takingOver ? this.#done : oldest === undefined ? this.#mark : oldest.position[0];
    try {
      await this.#options.feed.sendMark({ mark: Math.max(this.#mark + 1, Date.now()), done });
    } catch (error) {
      this.#options.logger.debug({ err: error, feed: this.#options.feed.name }, "sending a mark failed");
    }
  }

  /** The first own mark came back: from here on everything is heard. What was not heard before is told. */
  #tookOver(covered: boolean): void {
    this.#takingOver = false;
    const { feed, meter, logger } = this.#options;
    const late = [...this.#channelSince].filter(([, since]) => since === undefined || since > this.#done).map(([channel]) => channel);
    const missed = covered ? late : undefined;
    meter.count("feedTakeovers", 1, { feed: feed.name, outcome: covered ? "whole" : "gap" });
    logger.info({ feed: feed.name, whole: covered, kept: this.#kept.length }, "carrying the feed");
    if (missed === undefined || missed.length > 0) this.#keepGap(missed);
    this.#carry([...this.#channelSince.keys()]);
  }

  /** A channel that the holder was not hearing before: what was sent on it earlier is told as a gap. */
  #opened(channel: string, mark: number): void {
    this.#channelSince.set(channel, mark);
    if (!this.#options.lease.held || this.#takingOver) return;
    this.#keepGap([channel]);
    this.#carry([channel]);
  }

  /** Says so only once the gap is in the log, so that a subscriber who waits for it does not hear of it. */
  #carry(channels: readonly string[]): void {
    this.#drain();
    void this.#draining?.then(() => this.#options.lease.held && this.#options.onCarried?.(channels));
  }

  #keepGap(feedChannels: readonly string[] | undefined): void {
    const gap = this.#options.affected(feedChannels);
    if (gap.length === 0) return;
    const kept: KeptGap = { gap, position: [this.#mark, 0] };
    this.#kept.push(kept);
    this.#keptBytes += sizeOf(kept);
  }

  #keep(kept: Kept): void {
    this.#kept.push(kept);
    this.#keptBytes += sizeOf(kept);
    while (this.#kept.length > this.#maxKept || this.#keptBytes > this.#maxKeptBytes) this.#dropOldest();
  }

  /** In steps, since the array moves each time. The gap that tells of it stands before everything that is still kept. */
  #dropOldest(): void {
    const { feed, meter, affected } = this.#options;
    const told = this.#kept[0] !== undefined && "gap" in this.#kept[0];
    const dropped = this.#kept.splice(told ? 1 : 0, Math.ceil(this.#maxKept / 50));
    for (const kept of dropped) this.#keptBytes -= sizeOf(kept);
    if (!told && dropped[0] !== undefined) {
      const gap: KeptGap = { gap: affected(undefined), position: dropped[0].position };
      this.#kept.unshift(gap);
      this.#keptBytes += sizeOf(gap);
    }
    meter.count("feedDropped", dropped.length, { feed: feed.name, reason: "too_many_kept" });
  }

  /** Drops what the holder reported as done. */
  #forget(done: number): void {
    let drop = 0;
    while (drop < this.#kept.length && this.#kept[drop]!.position[0] < done) this.#keptBytes -= sizeOf(this.#kept[drop++]!);
    if (drop > 0) this.#kept.splice(0, drop);
  }

  #drain(): void {
    this.#draining ??= this.#append().finally(() => {
      this.#draining = undefined;
    });
  }

  async #append(): Promise<void> {
    const { lease, publisher, ingress, logger, meter, feed } = this.#options;
    let retryMs = RETRY_MIN_MS;
    while (this.#kept.length > 0 && lease.held && !(this.#stopped && retryMs > RETRY_MIN_MS)) {
      const page = this.#kept.slice(0, PAGE);
      try {
        const requests = await this.#requests(page);
        if (requests.length > 0) await publisher.append(requests, ingress);
        retryMs = RETRY_MIN_MS;
        // Overflow may have cut the head off meanwhile.
        const done = new Set(page);
        this.#kept = this.#kept.filter((kept, index) => index >= PAGE || !done.has(kept));
        for (const kept of page) this.#keptBytes -= sizeOf(kept);
      } catch (error) {
        if (!(error instanceof CarillonError)) logger.error({ err: error, feed: feed.name }, "publishing from the feed failed");
        await new Promise((resolve) => setTimeout(resolve, retryMs));
        retryMs = Math.min(retryMs * 2, RETRY_MAX_MS);
      }
    }
    meter.set("feedKept", this.#kept.length, { feed: feed.name });
  }

  async #requests(page: readonly (Kept | KeptGap)[]): Promise<AppendRequest[]> {
    const { feed, interpret, log } = this.#options;
    const requests: AppendRequest[] = [];
    for (const kept of page) {
      if ("gap" in kept) {
        // Nobody can hold a position of an empty log, so nobody missed anything.
        const { n } = await log.head();
        const draft: GapDraft = { gap: { channels: kept.gap } };
        if (n > 0 || requests.length > 0) requests.push({ draft });
        continue;
      }
      const fence = { source: `${feed.name}:${kept.channel}`, position: kept.position };
      for (const draft of interpret(kept.channel, kept.text)) requests.push({ draft, fence });
    }
    return requests;
  }
}

function sizeOf(kept: Kept | KeptGap): number {
  return 128 + ("text" in kept ? 2 * kept.text.length : 0);
}
