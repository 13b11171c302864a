import { CarillonError } from "@carillon/protocol";
import type { Authenticator, Credentials, Principal } from "./principal.ts";
import type { SessionClaims } from "./session-claims.ts";
import type { Tokens } from "./tokens.ts";

/** Whether what was issued then has been revoked since. */
export interface RevocationCheck {
  /** False until it is known what has been revoked. */
  readonly loaded: boolean;
  isRevoked(principal: Pick<Principal, "user" | "sid" | "issuedMs">): boolean;
}

export interface AuthenticatorOptions {
  readonly tokens?: Tokens | undefined;
  readonly sessions?: SessionClaims | undefined;
  readonly revocations: RevocationCheck;
  /** Whether a page's requests may act with its visitor's cookies; default: those of any page that may call at all. */
  readonly trustsCookies?: (headers: Credentials["headers"]) => boolean;
}

/**
 * Finds the one credential that was presented and checks it. `auth.token` and `Authorization: Bearer` may both be there when they
 * agree; a cookie counts only where neither is. Nobody becomes anonymous because their token is bad.
 */
export class CredentialsAuthenticator implements Authenticator {
  readonly #options: AuthenticatorOptions;

  constructor(options: AuthenticatorOptions) {
    this.#options = options;
  }

  async authenticate({ auth, headers }: Credentials): Promise<Principal> {
    const { revocations } = this.#options;
    if (!revocations.loaded)
      throw new CarillonError("NOT_READY", "it is not known yet who was logged out", { retryAfterS: 1 });
    const principal = await this.#identify(auth, headers);
    if (!isExpected(auth.user, principal.user)) {
      throw new CarillonError(
        "UNAUTHENTICATED",
        "auth.user is not the token's sub: this client may be using another user's connection",
      );
    }
    if (revocations.isRevoked(principal)) throw new CarillonError("REVOKED");
    return principal;
  }

  async #identify(auth: Credentials["auth"], headers: Credentials["headers"]): Promise<Principal> {
    const { tokens, sessions, trustsCookies = () => true } = this.#options;
    const { cookie, authorization } = headers;
    const mayBeCookie = sessions !== undefined && typeof cookie === "string" && trustsCookies(headers);
    // Of another scheme it is a proxy's in front, and no matter where somebody is known by something else.
    const isOurs = isBearer(authorization) || (isAbsent(auth.token) && !mayBeCookie);
    const token = oneToken(auth.token, isOurs ? bearer(authorization) : undefined);
    if (token !== undefined) {
      if (tokens === undefined) throw new CarillonError("UNAUTHENTICATED", "tokens are not accepted here");
      return tokens.verify(token);
    }
    if (mayBeCookie) return sessions.verify(cookie);
    throw new CarillonError("UNAUTHENTICATED", "no token was given");
  }
}

export function bearer(header: string | string[] | undefined): string | undefined {
  if (header === undefined) return undefined;
  const match = typeof header === "string" ? /^Bearer +(\S+) *$/i.exec(header) : null;
  if (match === null)
    throw new CarillonError("UNAUTHENTICATED", "the Authorization header must be: Bearer, a space, the token");
  return match[1];
}

/** Whether a header is meant for us at all, right or wrong. */
export function isBearer(header: string | string[] | undefined): boolean {
  return typeof header === "string" && /^Bearer\b/i.test(header);
}

/** Whom the client believes to be, where it says so. */
function isExpected(expected: unknown, user: string | undefined): boolean {
  if (isAbsent(expected)) return true;
  return (typeof expected === "string" || typeof expected === "number") && String(expected) === user;
}

function isAbsent(value: unknown): value is undefined | null {
  return value === undefined || value === null;
}

function oneToken(inAuth: unknown, inHeader: string | undefined): string | undefined {
  if (isAbsent(inAuth)) return inHeader;
  if (typeof inAuth !== "string" || inAuth === "")
    throw new CarillonError("UNAUTHENTICATED", "auth.token must be text");
  if (inHeader !== undefined && inHeader !== inAuth) {
    throw new CarillonError("UNAUTHENTICATED", "auth.token and the Authorization header differ: send one of them");
  }
  return inAuth;
}
