/**
 * The token: kept while it holds, asked for before it expires and after the server refused it.
 *
 * Clocks of devices are wrong. A token's own times say how long it lives; where they contradict this clock it counts from when it
 * was received. And whatever the server says of a token wins.
 */
import { ClientError, type ClientErrorCode } from "./errors.ts";
import { aborted, withTimeout } from "./signals.ts";
import type { TokenSource } from "./types.ts";

export interface CredentialsOptions {
  readonly token: string | TokenSource | undefined;
  /** A connection gets the new token. Rejects when the server does not take it. */
  readonly renew: (token: string) => Promise<unknown>;
  readonly report: (error: ClientError) => void;
  /** The client was closed. */
  readonly signal: AbortSignal;
}

const SOURCE_TIMEOUT_MS = 30_000;
/** A token that ends sooner is not worth a handshake. */
const TOO_SHORT_MS = 5000;
const RENEW_MIN_MS = 1000;
const RENEW_MAX_MS = 2 ** 31 - 1;
/** Fresh tokens that the server called expired, one after another, before that is final. */
const MAX_EXPIRED = 4;

export class Credentials {
  readonly #options: CredentialsOptions;
  #token: string | undefined;
  /** By this device's clock; NaN where the token does not say. */
  #endsAt = Number.NaN;
  /** What the server let a connection in with. */
  #held: string | undefined;
  #expired = 0;
  /** Refused for good. */
  #refused: string | undefined;
  #asking: Promise<string | undefined> | undefined;
  #renewal: ReturnType<typeof setTimeout> | undefined;

  constructor(options: CredentialsOptions) {
    this.#options = options;
    options.signal.addEventListener("abort", () => clearTimeout(this.#renewal));
  }

  /** A token that should hold. Rejects with `TOKEN_SOURCE_FAILED`. */
  async get(): Promise<string | undefined> {
    const { token } = this.#options;
    if (typeof token !== "function") return token;
    const tooShort = this.#token === undefined || this.#endsAt - Date.now() < TOO_SHORT_MS;
    return tooShort ? this.#ask(token) : this.#token;
  }

  /** The server let a connection in with it. */
  accept(token: string | undefined): void {
    if (token !== this.#token || token === this.#held) return;
    this.#held = token;
    this.#expired = 0;
    this.#schedule();
  }

  /** The server refused it. True where another token may do better. */
  reject(token: string | undefined, code: ClientErrorCode): boolean {
    if (typeof this.#options.token !== "function" || token === this.#refused) return false;
    // Several connections are refused the same one.
    if (token !== this.#token) return true;
    const hope = code === "TOKEN_EXPIRED" ? ++this.#expired <= MAX_EXPIRED : token === this.#held;
    this.#token = undefined;
    if (!hope) this.#refused = token;
    return hope;
  }

  /** A refusal is no longer final. */
  reset(): void {
    this.#token = this.#refused = undefined;
    this.#expired = 0;
  }

  #ask(source: TokenSource): Promise<string | undefined> {
    this.#asking ??= this.#fetch(source).finally(() => {
      this.#asking = undefined;
    });
    return this.#asking;
  }

  async #fetch(source: TokenSource): Promise<string | undefined> {
    const signal = withTimeout(SOURCE_TIMEOUT_MS, this.#options.signal);
    try {
      this.#token = await Promise.race([source(signal), aborted(signal)]);
    } catch (cause) {
      throw new ClientError("TOKEN_SOURCE_FAILED", "token source failed", { cause });
    }
    this.#endsAt = endOf(this.#token);
    return this.#token;
  }

  /** In most of the time that is left; so a source that fails, or gives the same again, is asked more and more often until the end. */
  #schedule(): void {
    clearTimeout(this.#renewal);
    const leftMs = this.#endsAt - Date.now();
    // Not for NaN either.
    if (!(leftMs > RENEW_MIN_MS)) return;
    const ms = Math.max(leftMs * (0.7 + Math.random() * 0.15), RENEW_MIN_MS);
    this.#renewal = setTimeout(() => void this.#renew(), Math.min(ms, RENEW_MAX_MS));
  }

  /** When the token has ended all the same, the server closes the connection, and the next handshake asks. */
  async #renew(): Promise<void> {
    const { token: source, renew, report, signal } = this.#options;
    if (typeof source !== "function") return;
    try {
      const token = await this.#ask(source);
      if (token !== undefined && token !== this.#held) await renew(token);
      this.#held = token;
    } catch (error) {
      if (signal.aborted) return;
      // The connection that ended over it: the next one begins with the new token.
      if ((error as ClientError).code !== "DISCONNECTED") report(error as ClientError);
    }
    this.#schedule();
  }
}

function endOf(token = ""): number {
  try {
    const [, claims = ""] = token.split(".");
    const { exp, iat } = JSON.parse(atob(claims.replaceAll("-", "+").replaceAll("_", "/")));
    const now = Date.now() / 1000;
    const believable = iat === undefined || (iat <= now && now < exp);
    return (believable ? exp : now + exp - iat) * 1000;
  } catch {
    return Number.NaN; // not a token that says anything
  }
}
