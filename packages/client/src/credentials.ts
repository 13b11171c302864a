/**
 * The token: kept while it holds, asked for before it expires and after the server refused it.
 *
 * Clocks of devices are wrong. A token's own times say how long it lives; where they contradict this clock it counts from when it
 * was received. And whatever the server says of a token wins.
 */
import { Backoff } from "./backoff.ts";
import { ClientError, type ClientErrorCode } from "./errors.ts";
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
  readonly #backoff = new Backoff(1000, 30_000);
  #token: string | undefined;
  #endsAt = Number.POSITIVE_INFINITY;
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
  get(): Promise<string | undefined> {
    const { token } = this.#options;
    if (typeof token !== "function") return Promise.resolve(token);
    if (this.#token !== undefined && this.#endsAt - Date.now() > TOO_SHORT_MS) return Promise.resolve(this.#token);
    return this.#ask(token);
  }

  /** The server let a connection in with it. */
  accept(token: string | undefined): void {
    if (token !== this.#token || token === this.#held) return;
    this.#held = token;
    this.#expired = 0;
    this.#backoff.reset();
    this.#schedule();
  }

  /** The server refused it. True where another token may do better. */
  reject(token: string | undefined, code: ClientErrorCode): boolean {
    if (typeof this.#options.token !== "function" || token === this.#refused) return false;
    // Several connections are refused the same one.
    if (token !== this.#token) return true;
    const hope = code === "TOKEN_EXPIRED" ? ++this.#expired <= MAX_EXPIRED : token === this.#held;
    if (!hope) this.#refused = token;
    this.forget();
    return hope;
  }

  /** The next to ask gets another one. */
  forget(): void {
    this.#token = undefined;
    clearTimeout(this.#renewal);
  }

  /** A refusal is no longer final. */
  reset(): void {
    this.#refused = undefined;
    this.#expired = 0;
    this.forget();
  }

  #ask(source: TokenSource): Promise<string | undefined> {
    this.#asking ??= this.#fetch(source).finally(() => {
      this.#asking = undefined;
    });
    return this.#asking;
  }

  async #fetch(source: TokenSource): Promise<string | undefined> {
    const { signal } = this.#options;
    const abort = new AbortController();
    const stop = () => abort.abort();
    signal.addEventListener("abort", stop);
    const timer = setTimeout(stop, SOURCE_TIMEOUT_MS);
    try {
      const token = (await Promise.race([source(abort.signal), rejection(abort.signal)])) ?? undefined;
      this.#token = token;
      this.#endsAt = endOf(token);
      return token;
    } catch (cause) {
      throw new ClientError("TOKEN_SOURCE_FAILED", "the token source failed", { cause });
    } finally {
      clearTimeout(timer);
      signal.removeEventListener("abort", stop);
    }
  }

  #schedule(afterMs = (this.#endsAt - Date.now()) * (0.7 + Math.random() * 0.15)): void {
    clearTimeout(this.#renewal);
    if (this.#endsAt === Number.POSITIVE_INFINITY || this.#options.signal.aborted) return;
    const ms = Math.min(Math.max(afterMs, RENEW_MIN_MS), RENEW_MAX_MS);
    this.#renewal = setTimeout(() => void this.#renew(), ms);
  }

  /** Until the token ends; after that the server closes the connection, and the next handshake asks. */
  async #renew(): Promise<void> {
    const { token: source, renew, report, signal } = this.#options;
    if (typeof source !== "function" || Date.now() > this.#endsAt) return;
    try {
      const token = await this.#ask(source);
      if (token !== undefined && token !== this.#held) await renew(token);
      this.#held = token;
      this.#backoff.reset();
      this.#schedule();
    } catch (error) {
      if (signal.aborted) return;
      report(error as ClientError);
      this.#schedule(this.#backoff.next());
    }
  }
}

/** When a token ends by this device's clock; never where it does not say. */
function endOf(token: string | undefined): number {
  const { exp, iat } = claimsOf(token);
  if (exp === undefined) return Number.POSITIVE_INFINITY;
  const now = Date.now();
  const believable = iat === undefined || (iat <= now && now < exp);
  return believable ? exp : now + (exp - iat);
}

function claimsOf(token: string | undefined): { exp?: number; iat?: number } {
  try {
    const part = (token as string).split(".")[1] as string;
    const { exp, iat } = JSON.parse(atob(part.replaceAll("-", "+").replaceAll("_", "/")));
    return { ...(Number.isFinite(exp) && { exp: exp * 1000 }), ...(Number.isFinite(iat) && { iat: iat * 1000 }) };
  } catch {
    return {}; // not a token that says anything
  }
}

function rejection(signal: AbortSignal): Promise<never> {
  return new Promise((_, reject) => signal.addEventListener("abort", () => reject(signal.reason)));
}
