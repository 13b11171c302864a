import { type Logger, type Meter, noMeter } from "@carillon/core";
import { CarillonError } from "@carillon/protocol";
import {
  type CryptoKey,
  createLocalJWKSet,
  errors,
  type FlattenedJWSInput,
  type JSONWebKeySet,
  type JWSHeaderParameters,
} from "jose";

export interface KeySetOptions {
  readonly url: string;
  readonly logger: Logger;
  readonly meter?: Meter;
  readonly fetch?: typeof fetch;
  /** How long keys are used before they are asked for again. */
  readonly maxAgeMs?: number;
  /** Never asks more often than this, whatever key ids tokens name. */
  readonly cooldownMs?: number;
}

const TIMEOUT_MS = 5000;
const MAX_BYTES = 1024 * 1024;

/**
 * The issuer's public keys (JWKS). Keys that were fetched once go on serving while their host is away; a key id that isn't among
 * them asks the host, at most once per cool-down, so that forged tokens can't make this node hammer it.
 */
export class KeySet {
  readonly #options: Required<Pick<KeySetOptions, "maxAgeMs" | "cooldownMs" | "fetch" | "meter">> & KeySetOptions;
  #keys: ReturnType<typeof createLocalJWKSet> | undefined;
  #fetchedMs = Number.NEGATIVE_INFINITY;
  #askedMs = Number.NEGATIVE_INFINITY;
  #asking: Promise<void> | undefined;

  constructor(options: KeySetOptions) {
    this.#options = { maxAgeMs: 600_000, cooldownMs: 10_000, fetch, meter: noMeter, ...options };
  }

  /** Throws `NOT_READY` when no keys were ever had, and jose's errors for a key that isn't there. */
  async find(header: JWSHeaderParameters, jws: FlattenedJWSInput): Promise<CryptoKey> {
    if (this.#keys === undefined) await this.#ask();
    else if (performance.now() - this.#fetchedMs > this.#options.maxAgeMs) void this.#ask();
    const keys = this.#keys;
    if (keys === undefined)
      throw new CarillonError("NOT_READY", "the keys that verify tokens can't be had just now", { retryAfterS: 2 });
    try {
      return await keys(header, jws);
    } catch (error) {
      if (!(error instanceof errors.JWKSNoMatchingKey)) throw error;
      await this.#ask();
      return (this.#keys ?? keys)(header, jws);
    }
  }

  /** Fetches, unless that was tried a moment ago. Never rejects: what was had before goes on serving. */
  #ask(): Promise<void> {
    if (this.#asking !== undefined) return this.#asking;
    const now = performance.now();
    if (now - this.#askedMs < (this.#keys === undefined ? 1000 : this.#options.cooldownMs)) return Promise.resolve();
    this.#askedMs = now;
    this.#asking = this.#fetch().finally(() => {
      this.#asking = undefined;
    });
    return this.#asking;
  }

  async #fetch(): Promise<void> {
    const { url, logger, fetch } = this.#options;
    try {
      const response = await fetch(url, {
        signal: AbortSignal.timeout(TIMEOUT_MS),
        redirect: "error",
        headers: { accept: "application/json" },
      });
      if (!response.ok) throw new Error(`status ${response.status}`);
      const text = await response.text();
      if (text.length > MAX_BYTES) throw new Error("the key set is too large");
      const set = JSON.parse(text) as JSONWebKeySet;
      const keys = createLocalJWKSet(set);
      // A publisher's hiccup; nobody means to lock everyone out.
      if (set.keys.length === 0) throw new Error("the key set is empty");
      this.#keys = keys;
      this.#fetchedMs = performance.now();
    } catch (error) {
      logger.warn(
        { err: error, hasKeys: this.#keys !== undefined },
        "fetching the keys that verify tokens (JWKS_URL) failed",
      );
    }
  }
}
