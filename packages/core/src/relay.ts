/**
 * Makes one publication of each message on a lossy ordered feed that all nodes hear (Redis channels, NOTIFY).
 *
 * All listeners hear the feed in one order. The holder of the lease puts a mark into it each second, so that "the third message
 * on this channel after mark 17" means the same to everybody. The holder appends with that position as fence. The others keep
 * what the holder has not yet reported as done and append it again when they take over: the fence drops what was done. Only
 * where nobody who takes over had been listening since the last reported mark is a gap told.
 */
import { CarillonError, type ChannelName, type Draft, type GapDraft } from "@carillon/protocol";
import { type Kept, type KeptGap, KeptQueue } from "./kept.ts";
import type { Logger } from "./logger.ts";
import type { Meter } from "./metrics.ts";
import type { AppendRequest, AppendResult, Feed, FeedListener, FencePosition, Lease, Log, Mark } from "./ports.ts";
import type { Ingress, Publish } from "./publish.ts";

export interface RelayOptions {
  readonly feed: Feed;
  readonly lease: Lease;
  readonly publisher: Pick<Publish, "append">;
  readonly log: Pick<Log, "head" | "fence">;
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
  /** The log's epoch, as far as this node knows. */
  readonly epoch?: () => number | undefined;
  /** For tests of clocks that differ. */
  readonly now?: () => number;
}

const MARK_MS = 1000;
const MAX_HEARD = 100;
const PAGE = 256;
const RETRY_MIN_MS = 100;
const RETRY_MAX_MS = 2000;

export class Relay implements FeedListener {
  readonly #options: RelayOptions;
  readonly #maxKept: number;
  readonly #kept: KeptQueue;
  /** The newest mark heard since the feed was last interrupted; 0 before the first. */
  #mark = 0;
  /** Messages since that mark, by channel. */
  readonly #index = new Map<string, number>();
  /** The first mark since which everything was heard; `undefined` while that is nothing. */
  #since: number | undefined;
  /** Whether it is proven that whatever is not reported as done was heard here; until then, the marks heard. */
  #agreed = false;
  #heard: number[] = [];
  /** Channels opened later than the rest, with the first mark after; `undefined` until it came. */
  readonly #channelSince = new Map<string, number | undefined>();
  /** All before this mark is in the log, by what the holder reported. */
  #done = 0;
  /** The holder's own state: whether it must tell what it had not heard, at its first mark. */
  #takingOver = false;
  #tookOverAt = 0;
  #mustCheckEpoch = false;
  #holding = false;
  /** Once, after the start. */
  #gaveWay = false;
  #appending = false;
  #appended: Promise<void> = Promise.resolve();
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
    await this.#appended;
    if (this.#mayAppend) await this.#sendMark(true);
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
    if (
      this.#since === undefined ||
      (this.#channelSince.has(channel) && this.#channelSince.get(channel) === undefined)
    ) {
      meter.count("feedDropped", 1, { feed: feed.name, reason: "not_synced" });
      return;
    }
    const index = (this.#index.get(channel) ?? 0) + 1;
    this.#index.set(channel, index);
    this.#kept.push({ channel, text, position: [this.#mark, index], epoch: this.#options.epoch?.() });
    this.#drain();
    // Marks stay away, and names without end come in.
    if (this.#index.size > 4 * this.#maxKept) this.interrupted();
  }

  mark({ mark, done }: Mark): void {
    if (mark <= this.#mark) {
      if (mark < this.#mark) this.#correct();
      return;
    }
    // Its sender has heard marks that were never heard here: what was counted here meanwhile, it counted otherwise.
    if (this.#since !== undefined && done > this.#mark) this.#startAnew();
    const covered = this.#since !== undefined && this.#agreed;
    this.#agree(mark, done);
    this.#mark = mark;
    this.#index.clear();
    if (this.#since === undefined) {
      this.#since = mark;
      for (const channel of this.#channelSince.keys()) this.#channelSince.set(channel, mark);
    } else {
      for (const [channel, since] of this.#channelSince) if (since === undefined) this.#opened(channel, mark);
    }
    this.#done = Math.max(this.#done, done);
    if (!this.#options.lease.held) {
      if (this.#agreed) this.#kept.forget(this.#done);
      this.#showKept();
    } else if (this.#takingOver) this.#tookOver(covered);
    else this.#drain();
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

  opened(channel: string): void {
    this.#channelSince.set(channel, undefined);
    // The next mark may be a second away, and a subscriber waits for it.
    if (this.#options.lease.held) this.#markSoon();
  }

  closed(channel: string): void {
    this.#channelSince.delete(channel);
  }

  interrupted(): void {
    const heard = this.#since !== undefined;
    this.#since = undefined;
    this.#agreed = false;
    this.#heard = [];
    this.#index.clear();
    for (const channel of this.#channelSince.keys()) this.#channelSince.set(channel, undefined);
    if (!this.#options.lease.held) return;
    this.#takingOver = true;
    // Somebody who went on hearing can carry on without a gap.
    if (heard) this.#options.lease.stepDown();
    this.#markSoon();
  }

  #leaseChanged(held: boolean): void {
    if (held === this.#holding) return;
    this.#holding = held;
    clearInterval(this.#beat);
    if (!held || this.#stopped) return;
    this.#takingOver = true;
    if (!this.#agreed && !this.#gaveWay) this.#giveWay();
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
    if (this.#since === undefined || this.#stopped || Math.abs(nowMs - this.#correctedMs) < MARK_MS) return;
    this.#correctedMs = nowMs;
    void this.#sendMark();
  }

  async #sendMark(last = false): Promise<void> {
    const { feed, lease, logger } = this.#options;
    if (this.#stopped && !last) return;
    const { oldest } = this.#kept;
    const own = lease.held && !this.#takingOver;
    const done = !own ? this.#done : oldest === undefined ? this.#mark : oldest.position[0];
    this.#sent = Math.max(this.#mark + 1, this.#sent + 1, this.#floor + 1, this.#nowMs());
    try {
      await feed.sendMark({ mark: this.#sent, done });
    } catch (error) {
      logger.debug({ err: error, feed: feed.name }, "sending a mark failed");
    }
  }

  #nowMs(): number {
    return (this.#options.now ?? Date.now)();
  }

  /**
   * The first own mark came back: from here on everything is heard. What was not heard before is told, ahead of all that was; and
   * nothing since the last report may be called done until it is.
   */
  #tookOver(covered: boolean): void {
    this.#takingOver = false;
    this.#tookOverAt = this.#mark;
    this.#mustCheckEpoch = true;
    const { feed, meter, logger } = this.#options;
    const channels = [...this.#channelSince.keys()];
    const missed = covered ? channels.filter((channel) => this.#channelSince.get(channel)! > this.#done) : undefined;
    meter.count("feedTakeovers", 1, { feed: feed.name, outcome: covered ? "whole" : "gap" });
    logger.info({ feed: feed.name, whole: covered, kept: this.#kept.length }, "carrying the feed");
    const gap = this.#gapOn(missed, { position: [this.#done, 0], carried: channels });
    if (gap === undefined) this.#options.onCarried?.(channels);
    else this.#kept.putFirst(gap);
    this.#drain();
  }

  /** A channel that the holder was not hearing before: what was sent on it earlier is told as a gap. */
  #opened(channel: string, mark: number): void {
    this.#channelSince.set(channel, mark);
    if (!this.#options.lease.held || this.#takingOver) return;
    // Just before the mark: whoever takes over with this gap untold must find that the channel was opened late.
    const gap = this.#gapOn([channel], { position: [mark - 1, 0], carried: [channel] });
    if (gap === undefined) this.#options.onCarried?.([channel]);
    else this.#kept.push(gap);
  }

  /** `undefined` where nobody can have missed anything. */
  #gapOn(
    feedChannels: readonly string[] | undefined,
    rest: Pick<KeptGap, "position" | "carried">,
  ): KeptGap | undefined {
    if (feedChannels?.length === 0) return undefined;
    const gap = this.#options.affected(feedChannels);
    return gap.length === 0 ? undefined : { gap, until: [this.#mark, 0], ...rest };
  }

  /** Nothing before the own mark came back: what was missed has to be told first. */
  get #mayAppend(): boolean {
    return this.#options.lease.held && !this.#takingOver;
  }

  #drain(): void {
    if (this.#appending || this.#stopped || this.#kept.length === 0 || !this.#mayAppend) return;
    this.#appending = true;
    this.#appended = this.#append();
  }

  async #append(): Promise<void> {
    const { publisher, ingress, logger, feed } = this.#options;
    let retryMs = RETRY_MIN_MS;
    while (this.#kept.length > 0 && this.#mayAppend && !(this.#stopped && retryMs > RETRY_MIN_MS)) {
      try {
        await this.#dropOtherEpochs();
        const page = this.#kept.page(PAGE);
        const requests = await this.#requests(page);
        const results = requests.length > 0 ? await publisher.append(requests, ingress) : [];
        retryMs = RETRY_MIN_MS;
        this.#kept.remove(page);
        this.#sayCarried(page);
        await this.#checkFences(requests, results);
      } catch (error) {
        if (!(error instanceof CarillonError))
          logger.error({ err: error, feed: feed.name }, "publishing from the feed failed");
        await new Promise((resolve) => setTimeout(resolve, retryMs));
        retryMs = Math.min(retryMs * 2, RETRY_MAX_MS);
      }
    }
    // In the same step as the last look at what is kept: what comes next must find nobody appending.
    this.#appending = false;
    this.#showKept();
  }

  #showKept(): void {
    const { meter, feed } = this.#options;
    meter.set("feedKept", this.#kept.length, { feed: feed.name });
  }

  /**
   * A log that lost its entries lost its fences too: what an earlier holder may have published would be published again. All that
   * was heard before is told as a gap instead. What was published since is behind a fence again.
   */
  async #dropOtherEpochs(): Promise<void> {
    if (!this.#mustCheckEpoch) return;
    const { epoch } = await this.#options.log.head();
    this.#mustCheckEpoch = false;
    const dropped = this.#kept.dropOtherEpochs(epoch);
    if (dropped === 0) return;
    this.#options.meter.count("feedDropped", dropped, { feed: this.#options.feed.name, reason: "log_began_anew" });
    const gap = this.#gapOn(undefined, { position: [this.#done, 0], carried: [] });
    if (gap !== undefined) this.#kept.putFirst(gap);
  }

  #sayCarried(page: readonly Kept[]): void {
    if (!this.#options.lease.held) return;
    for (const kept of page) if ("gap" in kept && kept.carried.length > 0) this.#options.onCarried?.(kept.carried);
  }

  /**
   * The log refuses what is old. Where it has a position above all of ours, somebody else counts otherwise and is ahead: another
   * holder, or an earlier one whose marks we never heard. Then what was refused may be missing.
   */
  async #checkFences(requests: readonly AppendRequest[], results: readonly AppendResult[]): Promise<void> {
    const last = new Map<string, FencePosition>();
    results.forEach(({ outcome }, index) => {
      const { fence } = requests[index]!;
      if (fence === undefined) return;
      if (outcome === "fenced" && fence.position[0] >= this.#tookOverAt) last.set(fence.source, fence.position);
      else last.delete(fence.source);
    });
    for (const [source, position] of last) {
      const known = await this.#options.log.fence(source);
      if (known === undefined || known[0] < position[0] || (known[0] === position[0] && known[1] <= position[1]))
        continue;
      this.#floor = Math.max(this.#floor, known[0]);
      this.#startAnew();
      return;
    }
  }

  /** What was counted here can't be trusted: as if nothing had been heard. */
  #startAnew(): void {
    const { logger, feed } = this.#options;
    logger.warn({ feed: feed.name, kept: this.#kept.length }, "marks were counted otherwise elsewhere: beginning anew");
    this.#kept.clear();
    this.interrupted();
  }

  async #requests(page: readonly Kept[]): Promise<AppendRequest[]> {
    const { feed, interpret, log } = this.#options;
    const requests: AppendRequest[] = [];
    for (const kept of page) {
      if ("gap" in kept) {
        if (kept.gap.length === 0) continue;
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
