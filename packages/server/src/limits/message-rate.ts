import { CarillonError } from "@carillon/protocol";

export interface MessageRateOptions {
  readonly perSecond: number;
  /** What a client may ask for in one breath when it connects. */
  readonly burst: number;
}

interface Bucket {
  tokens: number;
  filledAt: number;
}

/** Who goes on through this many seconds' worth of refusals is not asking for anything. */
const PATIENCE_S = 5;

/** Messages of one client. What is refused counts too: so who slows down is let in again soon, and who never does is found out. */
export class MessageRate {
  readonly #options: MessageRateOptions;
  readonly #buckets = new WeakMap<object, Bucket>();

  constructor(options: MessageRateOptions) {
    this.#options = options;
  }

  /** `refused`: answer it with the error. `abuse`: end it. */
  take(
    client: object,
  ): { readonly verdict: "ok" } | { readonly verdict: "refused" | "abuse"; readonly error: CarillonError } {
    const { perSecond, burst } = this.#options;
    const now = performance.now();
    let bucket = this.#buckets.get(client);
    if (bucket === undefined) {
      bucket = { tokens: burst, filledAt: now };
      this.#buckets.set(client, bucket);
    }
    bucket.tokens = Math.min(bucket.tokens + ((now - bucket.filledAt) / 1000) * perSecond, burst) - 1;
    bucket.filledAt = now;
    if (bucket.tokens >= 0) return { verdict: "ok" };
    const retryAfterS = Math.max(Math.ceil((1 - bucket.tokens) / perSecond), 1);
    const error = new CarillonError("RATE_LIMITED", `at most ${perSecond} messages a second`, { retryAfterS });
    return { verdict: bucket.tokens < -Math.max(burst, PATIENCE_S * perSecond) ? "abuse" : "refused", error };
  }
}
