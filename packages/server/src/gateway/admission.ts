import type { Meter } from "@carillon/core";
import { CarillonError } from "@carillon/protocol";

export interface AdmissionOptions {
  /** What stands in the way of any connection just now. */
  readonly closed: () => "NOT_READY" | "DRAINING" | undefined;
  readonly open: () => number;
  readonly maxConnections: number;
  readonly perSecond: number;
  readonly meter: Meter;
}

/** New transports at a pace that the node bears: after another node's death thousands come back in one second. */
export class Admission {
  readonly #options: AdmissionOptions;
  #tokens: number;
  #filledAt = performance.now();

  constructor(options: AdmissionOptions) {
    this.#options = options;
    this.#tokens = options.perSecond;
  }

  /** Why a handshake is refused, if it is; a taken place is not given back. */
  refuse(): CarillonError | undefined {
    const refusal = this.#refusal();
    if (refusal !== undefined) this.#options.meter.count("handshakes", 1, { outcome: refusal.code });
    return refusal;
  }

  #refusal(): CarillonError | undefined {
    const { closed, open, maxConnections, perSecond } = this.#options;
    const code = closed();
    if (code !== undefined) return new CarillonError(code, undefined, { retryAfterS: 1 });
    if (open() >= maxConnections)
      return new CarillonError("TOO_MANY_CONNECTIONS", "this node is full", { retryAfterS: 5 });
    const now = performance.now();
    this.#tokens = Math.min(this.#tokens + ((now - this.#filledAt) / 1000) * perSecond, perSecond);
    this.#filledAt = now;
    if (this.#tokens < 1)
      return new CarillonError("TOO_MANY_CONNECTIONS", "this node takes no more connections this second", {
        retryAfterS: 1,
      });
    this.#tokens--;
    return undefined;
  }
}
