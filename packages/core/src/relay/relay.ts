/**
 * Makes one publication of each message on a lossy ordered feed that all nodes hear (Redis channels, NOTIFY).
 *
 * All listeners hear the feed in one order. The holder of the lease puts a mark into it each second, so that "the third message
 * on this channel after mark 17" means the same to everybody. The holder appends with that position as fence. The others keep
 * what the holder has not yet reported as done and append it again when they take over: the fence drops what was done. Only
 * where nobody who takes over had been listening since the last reported mark is a gap told.
 */
import type { ChannelName } from "@carillon/protocol";
import type { Feed, FeedListener, Lease, Mark } from "../ports.ts";
import { Hearing } from "./hearing.ts";
import { type Kept, type KeptGap, KeptQueue } from "./kept.ts";
import { KeptAppender, type KeptAppenderOptions } from "./kept-appender.ts";

export interface RelayOptions
  extends Pick<KeptAppenderOptions, "publisher" | "log" | "ingress" | "interpret" | "meter" | "logger"> {
  readonly feed: Feed;
  readonly lease: Lease;
  /** The channels on which something may be missing when the feed was not heard: on these of its channels, or (`undefined`) all. */
  readonly affected: (feedChannels: readonly string[] | undefined) => readonly ChannelName[];
  /** Told by the holder: messages on these are published from here on. */
  readonly onCarried?: (feedChannels: readonly string[]) => void;
  readonly maxKept?: number;
  readonly maxKeptBytes?: number;
  /** The log's epoch, as far as this node knows. */
  readonly epoch?: () => number | undefined;
  /** For tests of clocks that differ. */
  readonly now?: () => number;
}

const MARK_MS = 1000;

export class Relay implements FeedListener {
  readonly #options: RelayOptions;
  readonly #maxKept: number;
  readonly #kept: KeptQueue;
  readonly #appender: KeptAppender;
  readonly #hearing = new Hearing();
  /** All before this mark is in the log, by what the holder reported. */
  #done = 0;
  #holding = false;
  /** The holder must tell what it had not heard, at its first mark. */
  #takingOver = false;
  /** Once, after the start. */
  #gaveWay = false;
  #beat: NodeJS.Timeout | undefined;
  /** The highest mark sent from here, and one that the log has seen and we have not: new ones are above both. */
  #sent = 0;
  #floor = 0;
  #markIsDue = false;
  #correctedMs = 0;
  #stopped = false;

  constructor(options: RelayOptions) {
    this.#options = options;
    const { feed, meter, affected, maxKept = 50_000, maxKeptBytes = 32 * 1024 * 1024 } = options;
    this.#maxKept = maxKept;
    this.#kept = new KeptQueue({
      maxKept,
      maxBytes: maxKeptBytes,
      affected: () => affected(undefined),
      onDropped: (count) => meter.count("feedDropped", count, { feed: feed.name, reason: "too_many_kept" }),
    });
    this.#appender = new KeptAppender({
      ...options,
      feed: feed.name,
      kept: this.#kept,
      mayAppend: () => this.#mayAppend,
      gapOfOtherEpochs: () => this.#gapOn(undefined, { position: [this.#done, 0], carried: [] }),
      onAppended: (page) => this.#sayCarried(page),
      onAhead: (mark) => {
        this.#floor = Math.max(this.#floor, mark);
        this.#startAnew();
      },
    });
  }

  start(): void {
    this.#options.feed.listen(this);
    this.#options.lease.onChange((held) => this.#leaseChanged(held));
    if (this.#options.lease.held) this.#leaseChanged(true);
  }

  /** Lets what is being appended finish, and reports it, so that whoever takes over knows that nothing is missing. */
  async stop(): Promise<void> {
    this.#stopped = true;
    clearInterval(this.#beat);
    await this.#appender.stop();
    if (this.#mayAppend) await this.#sendMark(true);
  }

  /** Whether this node hears the feed and its marks. */
  get synced(): boolean {
    return this.#hearing.synced;
  }

  get kept(): number {
    return this.#kept.length;
  }

  message(channel: string, text: string): void {
    const { meter, feed, epoch } = this.#options;
    meter.count("feedMessages", 1, { feed: feed.name });
    const position = this.#hearing.next(channel);
    if (position === undefined) {
      meter.count("feedDropped", 1, { feed: feed.name, reason: "not_synced" });
      return;
    }
    this.#kept.push({ channel, text, position, epoch: epoch?.() });
    this.#appender.wake();
    // Marks stay away, and names without end come in.
    if (this.#hearing.busyChannels > 4 * this.#maxKept) this.interrupted();
  }

  mark(heard: Mark): void {
    const { mark, done } = heard;
    const hearing = this.#hearing;
    if (mark <= hearing.mark) {
      if (mark < hearing.mark) this.#correct();
      return;
    }
    // Its sender has heard marks that were never heard here: what was counted here meanwhile, it counted otherwise.
    if (hearing.synced && done > hearing.mark) this.#startAnew();
    const covered = hearing.synced && hearing.agreed;
    this.#carryOpened(hearing.advance(heard));
    this.#done = Math.max(this.#done, done);
    if (!this.#options.lease.held) {
      if (hearing.agreed) this.#kept.forget(this.#done);
      this.#appender.showKept();
    } else if (this.#takingOver) this.#tookOver(covered);
    else this.#appender.wake();
  }

  opened(channel: string): void {
    this.#hearing.open(channel);
    // The next mark may be a second away, and a subscriber waits for it.
    if (this.#options.lease.held) this.#markSoon();
  }

  closed(channel: string): void {
    this.#hearing.close(channel);
  }

  interrupted(): void {
    const heard = this.#hearing.synced;
    this.#hearing.interrupt();
    if (!this.#options.lease.held) return;
    this.#takingOver = true;
    // Somebody who went on hearing can carry on without a gap.
    if (heard) this.#options.lease.stepDown();
    this.#markSoon();
  }

  /** What was counted here can't be trusted: as if nothing had been heard. */
  #startAnew(): void {
    const { logger, feed } = this.#options;
    logger.warn({ feed: feed.name, kept: this.#kept.length }, "marks were counted otherwise elsewhere: beginning anew");
    this.#kept.clear();
    this.interrupted();
  }

  #leaseChanged(held: boolean): void {
    if (held === this.#holding) return;
    this.#holding = held;
    clearInterval(this.#beat);
    if (!held || this.#stopped) return;
    this.#takingOver = true;
    if (!this.#hearing.agreed && !this.#gaveWay) this.#giveWay();
    else this.#carry();
  }

  #carry(): void {
    clearInterval(this.#beat);
    this.#beat = setInterval(() => {
      if (this.#options.lease.held) void this.#sendMark();
    }, MARK_MS);
    void this.#sendMark();
  }

  /**
   * A node that has only just started may get the lease before one that heard everything. So it lets the others ask first, where
   * its taking over would be told as a gap; all keep what comes from its mark on.
   */
  #giveWay(): void {
    const { log, lease } = this.#options;
    this.#gaveWay = true;
    log.head().then(
      ({ n }) => {
        if (!this.#holding || this.#stopped) return;
        if (n === 0) return this.#carry();
        void this.#sendMark();
        lease.giveWay();
        // There is nobody else.
        if (lease.held) this.#carry();
      },
      () => {
        if (this.#holding && !this.#stopped) this.#carry();
      },
    );
  }

  /**
   * The first own mark came back: from here on everything is heard. What was not heard before is told, ahead of all that was; and
   * nothing since the last report may be called done until it is.
   */
  #tookOver(covered: boolean): void {
    this.#takingOver = false;
    this.#appender.takeOver(this.#hearing.mark);
    const { feed, meter, logger } = this.#options;
    const { channels } = this.#hearing;
    meter.count("feedTakeovers", 1, { feed: feed.name, outcome: covered ? "whole" : "gap" });
    logger.info({ feed: feed.name, whole: covered, kept: this.#kept.length }, "carrying the feed");
    const missed = covered ? this.#hearing.openedAfter(this.#done) : undefined;
    const gap = this.#gapOn(missed, { position: [this.#done, 0], carried: channels });
    if (gap === undefined) this.#options.onCarried?.(channels);
    else this.#kept.putFirst(gap);
    this.#appender.wake();
  }

  /** Channels that the holder was not hearing before: what was sent on them earlier is told as a gap. */
  #carryOpened(channels: readonly string[]): void {
    if (!this.#mayAppend) return;
    for (const channel of channels) {
      // Just before the mark: whoever takes over with this gap untold must find that the channel was opened late.
      const gap = this.#gapOn([channel], { position: [this.#hearing.mark - 1, 0], carried: [channel] });
      if (gap === undefined) this.#options.onCarried?.([channel]);
      else this.#kept.push(gap);
    }
  }

  #sayCarried(page: readonly Kept[]): void {
    if (!this.#options.lease.held) return;
    for (const kept of page) if ("gap" in kept && kept.carried.length > 0) this.#options.onCarried?.(kept.carried);
  }

  /** `undefined` where nobody can have missed anything. */
  #gapOn(
    feedChannels: readonly string[] | undefined,
    rest: Pick<KeptGap, "position" | "carried">,
  ): KeptGap | undefined {
    if (feedChannels?.length === 0) return undefined;
    const gap = this.#options.affected(feedChannels);
    return gap.length === 0 ? undefined : { gap, until: [this.#hearing.mark, 0], ...rest };
  }

  /** Nothing before the own mark came back: what was missed has to be told first. */
  get #mayAppend(): boolean {
    return this.#options.lease.held && !this.#takingOver;
  }

  /** One for all who ask in this turn. */
  #markSoon(): void {
    if (this.#markIsDue) return;
    this.#markIsDue = true;
    queueMicrotask(() => {
      this.#markIsDue = false;
      if (this.#options.lease.held) void this.#sendMark();
    });
  }

  /**
   * Somebody sent a mark below one that was heard before: it began lately, by a clock that is behind. Messages counted from its
   * marks would be taken for old ones, so it must hear of ours, holder or not.
   */
  #correct(): void {
    const nowMs = this.#nowMs();
    if (!this.#hearing.synced || this.#stopped || Math.abs(nowMs - this.#correctedMs) < MARK_MS) return;
    this.#correctedMs = nowMs;
    void this.#sendMark();
  }

  async #sendMark(last = false): Promise<void> {
    const { feed, logger } = this.#options;
    if (this.#stopped && !last) return;
    const { mark } = this.#hearing;
    const { oldest } = this.#kept;
    const done = !this.#mayAppend ? this.#done : oldest === undefined ? mark : oldest.position[0];
    this.#sent = Math.max(mark + 1, this.#sent + 1, this.#floor + 1, this.#nowMs());
    try {
      await feed.sendMark({ mark: this.#sent, done });
    } catch (error) {
      logger.debug({ err: error, feed: feed.name }, "sending a mark failed");
    }
  }

  #nowMs(): number {
    return (this.#options.now ?? Date.now)();
  }
}
