/** Appends what a relay has kept, oldest first, for as long as this node is the one to do so. */
import { CarillonError, type Draft, type GapDraft } from "@carillon/protocol";
import { compareFencePositions } from "../fence.ts";
import type { Logger } from "../logger.ts";
import type { Meter } from "../metrics.ts";
import type { AppendRequest, AppendResult, FencePosition, Log } from "../ports.ts";
import type { Ingress, Publish } from "../publish.ts";
import type { Kept, KeptGap, KeptQueue } from "./kept.ts";

export interface KeptAppenderOptions {
  /** The feed's name. */
  readonly feed: string;
  readonly kept: KeptQueue;
  readonly publisher: Pick<Publish, "append">;
  readonly log: Pick<Log, "head" | "fence">;
  readonly ingress: Ingress;
  /** The publications that a message means; none for nonsense. Called where they are appended only, so that nonsense counts once. */
  readonly interpret: (channel: string, text: string) => readonly Draft[];
  readonly mayAppend: () => boolean;
  /** What tells of everything that was heard while the log was in another epoch. */
  readonly gapOfOtherEpochs: () => KeptGap | undefined;
  readonly onAppended: (page: readonly Kept[]) => void;
  /** Somebody who counts otherwise has appended up to this mark, which is above all of ours. What was refused may be missing. */
  readonly onAhead: (mark: number) => void;
  readonly meter: Meter;
  readonly logger: Logger;
}

const PAGE = 256;
const RETRY_MIN_MS = 100;
const RETRY_MAX_MS = 2000;

export class KeptAppender {
  readonly #options: KeptAppenderOptions;
  #appending = false;
  #appended: Promise<void> = Promise.resolve();
  #tookOverAt = 0;
  #mustCheckEpoch = false;
  #stopped = false;

  constructor(options: KeptAppenderOptions) {
    this.#options = options;
  }

  /** This node is the one from this mark on. */
  takeOver(mark: number): void {
    this.#tookOverAt = mark;
    this.#mustCheckEpoch = true;
  }

  /** Something is kept, or this node may append now. */
  wake(): void {
    const { kept, mayAppend } = this.#options;
    if (this.#appending || this.#stopped || kept.length === 0 || !mayAppend()) return;
    this.#appending = true;
    this.#appended = this.#append();
  }

  /** Resolves when what is being appended is, or failed. */
  async stop(): Promise<void> {
    this.#stopped = true;
    await this.#appended;
  }

  async #append(): Promise<void> {
    const { kept, mayAppend, publisher, ingress, onAppended, logger, feed } = this.#options;
    let retryMs = RETRY_MIN_MS;
    while (kept.length > 0 && mayAppend() && !(this.#stopped && retryMs > RETRY_MIN_MS)) {
      try {
        await this.#dropOtherEpochs();
        const page = kept.page(PAGE);
        const requests = await this.#requests(page);
        const results = requests.length > 0 ? await publisher.append(requests, ingress) : [];
        retryMs = RETRY_MIN_MS;
        kept.remove(page);
        onAppended(page);
        await this.#checkFences(requests, results);
      } catch (error) {
        if (!(error instanceof CarillonError)) logger.error({ err: error, feed }, "publishing from the feed failed");
        await new Promise((resolve) => setTimeout(resolve, retryMs));
        retryMs = Math.min(retryMs * 2, RETRY_MAX_MS);
      }
    }
    // In the same step as the last look at what is kept: what comes next must find nobody appending.
    this.#appending = false;
    this.showKept();
  }

  showKept(): void {
    const { meter, kept, feed } = this.#options;
    meter.set("feedKept", kept.length, { feed });
  }

  /**
   * A log that lost its entries lost its fences too: what an earlier holder may have published would be published again. All that
   * was heard before is told as a gap instead. What was published since is behind a fence again.
   */
  async #dropOtherEpochs(): Promise<void> {
    if (!this.#mustCheckEpoch) return;
    const { log, kept, gapOfOtherEpochs, meter, feed } = this.#options;
    const { epoch } = await log.head();
    this.#mustCheckEpoch = false;
    const dropped = kept.dropOtherEpochs(epoch);
    if (dropped === 0) return;
    meter.count("feedDropped", dropped, { feed, reason: "log_began_anew" });
    const gap = gapOfOtherEpochs();
    if (gap !== undefined) kept.putFirst(gap);
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
      const fence = { source: `${feed}:${kept.channel}`, position: kept.position };
      for (const draft of interpret(kept.channel, kept.text)) requests.push({ draft, fence });
    }
    return requests;
  }

  /**
   * The log refuses what is old. Where it has a position above all of ours, somebody else counts otherwise and is ahead: another
   * holder, or an earlier one whose marks we never heard.
   */
  async #checkFences(requests: readonly AppendRequest[], results: readonly AppendResult[]): Promise<void> {
    const { log, onAhead } = this.#options;
    const refused = new Map<string, FencePosition>();
    results.forEach(({ outcome }, index) => {
      const { fence } = requests[index]!;
      if (fence === undefined) return;
      if (outcome === "fenced" && fence.position[0] >= this.#tookOverAt) refused.set(fence.source, fence.position);
      else refused.delete(fence.source);
    });
    for (const [source, position] of refused) {
      const known = await log.fence(source);
      if (known === undefined || compareFencePositions(known, position) <= 0) continue;
      onAhead(known[0]);
      return;
    }
  }
}
