import { createHash } from "node:crypto";
import type { Logger } from "@carillon/core";
import { CarillonError, isPlainObject, readJson } from "@carillon/protocol";
import { type ClaimPaths, LEEWAY_S, principalFromClaims } from "./claims.ts";
import type { Patterns } from "./patterns.ts";
import type { Principal } from "./principal.ts";

export interface SessionClaimsOptions {
  readonly url: string;
  readonly claims: ClaimPaths;
  readonly patterns: Patterns;
  readonly logger: Logger;
  readonly fetch?: typeof fetch;
  readonly cacheMs?: number;
}

const TIMEOUT_MS = 3000;
const MAX_COOKIE_BYTES = 8192;
const MAX_ANSWER_BYTES = 65_536;
const MAX_CACHED = 20_000;
/** Asked at once; beyond it handshakes are told to come back, so that a slow application isn't buried. */
const MAX_ASKING = 200;
/** A session whose answer has no `exp` is asked about again after this long. */
const DEFAULT_LIFETIME_S = 3600;

/** Sessions of the application: it is asked, with the request's cookie, who that is. Whatever isn't a clear yes is a no. */
export class SessionClaims {
  readonly #options: SessionClaimsOptions;
  readonly #cache = new Map<string, { readonly answer: Promise<Principal>; readonly untilMs: number }>();
  #asking = 0;

  constructor(options: SessionClaimsOptions) {
    this.#options = options;
  }

  /** Throws `UNAUTHENTICATED`, `TOKEN_EXPIRED`, or `NOT_READY` when the application can't be asked. */
  async verify(cookie: string): Promise<Principal> {
    if (cookie.length > MAX_COOKIE_BYTES) throw new CarillonError("UNAUTHENTICATED", "the cookie is too long");
    const key = createHash("sha256").update(cookie).digest("base64url");
    const cached = this.#cache.get(key);
    if (cached !== undefined && cached.untilMs > Date.now()) return unexpired(await cached.answer);
    if (this.#asking >= MAX_ASKING) throw unavailable();
    const answer = this.#ask(cookie);
    if (this.#cache.size >= MAX_CACHED) this.#cache.clear();
    this.#cache.set(key, { answer, untilMs: Date.now() + (this.#options.cacheMs ?? 30_000) });
    // Only a yes is remembered: a session may begin at any moment.
    answer.catch(() => this.#cache.delete(key));
    return unexpired(await answer);
  }

  async #ask(cookie: string): Promise<Principal> {
    const { url, claims: paths, patterns } = this.#options;
    this.#asking++;
    try {
      const claims = await this.#claims(url, cookie);
      const exp = typeof claims.exp === "number" ? claims.exp : Math.floor(Date.now() / 1000) + DEFAULT_LIFETIME_S;
      return principalFromClaims({ iat: Math.floor(Date.now() / 1000), ...claims, exp }, paths, patterns);
    } finally {
      this.#asking--;
    }
  }

  async #claims(url: string, cookie: string): Promise<Record<string, unknown>> {
    const { logger, fetch: ask = fetch } = this.#options;
    let status: number;
    let text: string;
    try {
      const response = await ask(url, {
        headers: { cookie, accept: "application/json" },
        redirect: "manual",
        signal: AbortSignal.timeout(TIMEOUT_MS),
      });
      status = response.status;
      text = await response.text();
    } catch (error) {
      logger.warn({ err: error }, "asking the application about a session (AUTH_URL) failed");
      throw unavailable();
    }
    if (status >= 500 || status === 429 || status === 408) throw unavailable();
    const claims = status === 200 && text.length <= MAX_ANSWER_BYTES ? readJson(text) : undefined;
    if (!isPlainObject(claims))
      throw new CarillonError("UNAUTHENTICATED", "the application does not know this session");
    return claims;
  }
}

/** One that ended while it was remembered, or that the application answered although it had ended. */
function unexpired(principal: Principal): Principal {
  if ((principal.expiresMs ?? 0) + LEEWAY_S * 1000 <= Date.now()) throw new CarillonError("TOKEN_EXPIRED");
  return principal;
}

function unavailable(): CarillonError {
  return new CarillonError("NOT_READY", "the application can't be asked about the session just now", {
    retryAfterS: 2,
  });
}
