import type { Meter } from "@carillon/core";
import { CarillonError } from "@carillon/protocol";
import { type RateLimiterAbstract, RateLimiterMemory, RateLimiterRes } from "rate-limiter-flexible";

/** How the cluster is asked. Rejects with `RateLimiterRes` when there is no more, with anything else when it can't be asked. */
export type Consume = (key: string, points: number) => Promise<RateLimiterRes>;

export interface QuotaOptions {
  /** On average, of all nodes together. */
  readonly perSecond: number;
  /** Absent: this node alone. */
  readonly shared?: Consume | undefined;
  readonly meter: Pick<Meter, "count">;
}

interface Share {
  left: number;
  untilMs: number;
  /** Refused until then, without asking again. */
  blockedMs: number;
  asking: Promise<void> | undefined;
}

/** Bursts of ten seconds' worth pass; what is refused can come back within that time. */
export const WINDOW_S = 10;
/** A node takes a hundredth of the window at a time, so that most calls ask nobody. */
const SHARES = 100;
const MAX_KEYS = 50_000;

/** So much a second for each key, over all nodes. While Redis is away each node counts by itself, which is counted. */
export class Quota {
  readonly #options: QuotaOptions;
  readonly #points: number;
  readonly #local: RateLimiterAbstract;
  readonly #shares = new Map<string, Share>();

  constructor(options: QuotaOptions) {
    this.#options = options;
    this.#points = options.perSecond * WINDOW_S;
    this.#local = new RateLimiterMemory({ points: this.#points, duration: WINDOW_S });
  }

  /** Throws `RATE_LIMITED` with the time after which it is worth trying again. */
  async consume(key: string, points = 1): Promise<void> {
    if (points > this.#points) {
      throw new CarillonError("RATE_LIMITED", `more at once than the ${this.#points} that ${WINDOW_S} s allow`, {
        retryAfterS: WINDOW_S,
      });
    }
    for (;;) {
      const share = this.#share(key);
      const now = performance.now();
      if (share.blockedMs > now) throw limited(share.blockedMs - now);
      if (share.untilMs <= now) share.left = 0;
      if (share.left >= points) {
        share.left -= points;
        return;
      }
      // One question at a time: each of a burst's calls would take a share of its own.
      share.asking ??= this.#ask(key, share, Math.max(points - share.left, Math.floor(this.#points / SHARES))).finally(
        () => {
          share.asking = undefined;
        },
      );
      await share.asking;
    }
  }

  async #ask(key: string, share: Share, points: number): Promise<void> {
    const { shared, meter } = this.#options;
    try {
      let result: RateLimiterRes;
      try {
        result = await (shared ?? this.#alone)(key, points);
      } catch (error) {
        if (error instanceof RateLimiterRes) throw error;
        meter.count("limitsLocal");
        result = await this.#alone(key, points);
      }
      share.left += points;
      share.untilMs = performance.now() + Math.max(result.msBeforeNext, 1);
    } catch (error) {
      if (!(error instanceof RateLimiterRes)) throw error;
      share.blockedMs = performance.now() + Math.max(error.msBeforeNext, 1);
    }
  }

  readonly #alone: Consume = (key, points) => this.#local.consume(key, points);

  #share(key: string): Share {
    let share = this.#shares.get(key);
    if (share === undefined) {
      if (this.#shares.size >= MAX_KEYS) this.#shares.clear();
      share = { left: 0, untilMs: 0, blockedMs: 0, asking: undefined };
      this.#shares.set(key, share);
    }
    return share;
  }
}

function limited(afterMs: number): CarillonError {
  return new CarillonError("RATE_LIMITED", undefined, { retryAfterS: Math.max(Math.ceil(afterMs / 1000), 1) });
}
