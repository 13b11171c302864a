/** Client tokens: JWTs that the application issued. Signature, algorithm, issuer, audience and time are jose's work. */
import { createHash } from "node:crypto";
import { CarillonError } from "@carillon/protocol";
import { decodeProtectedHeader, errors, type JWTPayload, jwtVerify } from "jose";
import { type ClaimPaths, LEEWAY_S, principalFromClaims } from "./claims.ts";
import type { KeySet } from "./key-set.ts";
import type { Patterns } from "./patterns.ts";
import type { Principal } from "./principal.ts";
import { type PublicKey, readPublicKey } from "./public-key.ts";

export interface TokenOptions {
  readonly secret?: string | undefined;
  /** PEM. */
  readonly publicKey?: string | undefined;
  readonly keySet?: KeySet | undefined;
  readonly issuer?: string | undefined;
  readonly audience?: string | undefined;
  readonly claims: ClaimPaths;
  readonly patterns: Patterns;
}

const MAX_TOKEN_BYTES = 16 * 1024;
const MAX_CACHED = 20_000;
const CACHE_MS = 60_000;
/** Of keys that verify and do not sign; HMAC is never among them, or a public key would be somebody's secret. */
const ASYMMETRIC = ["RS256", "ES256", "EdDSA", "Ed25519"];

interface Cached {
  readonly principal: Principal;
  readonly untilMs: number;
}

export class Tokens {
  readonly #options: TokenOptions;
  readonly #secret: Uint8Array | undefined;
  readonly #publicKey: PublicKey | undefined;
  /** Verified a moment ago, by hash: a client presents its token once for each namespace, and thousands reconnect in one second. */
  readonly #verified = new Map<string, Cached>();

  constructor(options: TokenOptions) {
    this.#options = options;
    this.#secret = options.secret === undefined ? undefined : new TextEncoder().encode(options.secret);
    this.#publicKey = options.publicKey === undefined ? undefined : readPublicKey(options.publicKey);
  }

  /** Throws `UNAUTHENTICATED` or `TOKEN_EXPIRED`; the message never holds any of the token. */
  async verify(token: string): Promise<Principal> {
    if (token.length > MAX_TOKEN_BYTES) throw new CarillonError("UNAUTHENTICATED", "the token is too long");
    const hash = createHash("sha256").update(token).digest("base64url");
    const cached = this.#verified.get(hash);
    if (cached !== undefined && cached.untilMs > Date.now() && !isOver(cached.principal)) return cached.principal;
    const principal = principalFromClaims(await this.#claims(token), this.#options.claims, this.#options.patterns);
    if (this.#verified.size >= MAX_CACHED) this.#verified.clear();
    this.#verified.set(hash, { principal, untilMs: Date.now() + CACHE_MS });
    return principal;
  }

  async #claims(token: string): Promise<JWTPayload> {
    const { issuer, audience } = this.#options;
    const shared = {
      clockTolerance: LEEWAY_S,
      requiredClaims: ["sub", "exp"],
      ...(issuer !== undefined && { issuer }),
      ...(audience !== undefined && { audience }),
    };
    try {
      const { alg } = decodeProtectedHeader(token);
      if (alg === "HS256" && this.#secret !== undefined) {
        return (await jwtVerify(token, this.#secret, { ...shared, algorithms: ["HS256"] })).payload;
      }
      if (this.#publicKey?.algorithms.includes(alg ?? "")) {
        const { key, algorithms } = this.#publicKey;
        return (await jwtVerify(token, key, { ...shared, algorithms: [...algorithms] })).payload;
      }
      if (this.#options.keySet !== undefined && ASYMMETRIC.includes(alg ?? "")) {
        const { keySet } = this.#options;
        return (
          await jwtVerify(token, (header, jws) => keySet.find(header, jws), { ...shared, algorithms: ASYMMETRIC })
        ).payload;
      }
    } catch (error) {
      throw refusal(error);
    }
    throw new CarillonError("UNAUTHENTICATED", "the token is signed with an algorithm that is not accepted here");
  }
}

function isOver({ expiresMs = 0 }: Principal): boolean {
  return expiresMs + LEEWAY_S * 1000 <= Date.now();
}

function refusal(error: unknown): CarillonError {
  if (error instanceof CarillonError) return error;
  if (error instanceof errors.JWTExpired) return new CarillonError("TOKEN_EXPIRED");
  if (error instanceof errors.JWTClaimValidationFailed)
    return new CarillonError("UNAUTHENTICATED", `the token's ${error.claim} claim is not accepted here`);
  if (error instanceof errors.JOSEError) return new CarillonError("UNAUTHENTICATED", "the token is not valid");
  if (error instanceof TypeError) return new CarillonError("UNAUTHENTICATED", "the token is not a JWT");
  throw error;
}
