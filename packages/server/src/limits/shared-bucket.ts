import { MemoryTokenBucket, type Meter, type TokenBucket } from "@carillon/core";
import { CarillonError } from "@carillon/protocol";

/** All nodes share one bucket; while Redis is away each has one of its own, which is counted. */
export function sharedBucket(shared: TokenBucket, perSecond: number, meter: Pick<Meter, "count">): TokenBucket {
  const own = new MemoryTokenBucket(perSecond);
  return {
    async take(tokens) {
      try {
        return await shared.take(tokens);
      } catch (error) {
        if (!(error instanceof CarillonError)) throw error;
        meter.count("limitsLocal");
        return own.take(tokens);
      }
    },
  };
}
