import { CarillonError } from "@carillon/protocol";
import type { Authenticator, Credentials, Principal } from "./principal.ts";
import type { SessionClaims } from "./session-claims.ts";
import type { Tokens } from "./tokens.ts";

/** Whether what was issued then has been revoked since. */
export interface RevocationCheck {
  isRevoked(principal: Pick<Principal, "user" | "sid" | "issuedMs">): boolean;
}

export interface AuthenticatorOptions {
  readonly tokens?: Tokens | undefined;
  readonly sessions?: SessionClaims | undefined;
  readonly revocations: RevocationCheck;
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
    const principal = await this.#identify(auth, headers);
    const expected = auth.user;
    if (expected !== undefined && expected !== null && String(expected) !== principal.user) {
      throw new CarillonError(
        "UNAUTHENTICATED",
        "auth.user is not the token's sub: this client may be using another user's connection",
      );
    }
    if (revocations.isRevoked(principal)) throw new CarillonError("REVOKED");
    return principal;
  }

  async #identify(auth: Credentials["auth"], headers: Credentials["headers"]): Promise<Principal> {
    const { tokens, sessions } = this.#options;
    const token = oneToken(auth.token, bearer(headers.authorization));
    if (token !== undefined) {
      if (tokens === undefined) throw new CarillonError("UNAUTHENTICATED", "tokens are not accepted here");
      return tokens.verify(token);
    }
    const { cookie } = headers;
    if (sessions !== undefined && typeof cookie === "string") return sessions.verify(cookie);
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

function oneToken(inAuth: unknown, inHeader: string | undefined): string | undefined {
  if (inAuth === undefined || inAuth === null) return inHeader;
  if (typeof inAuth !== "string" || inAuth === "")
    throw new CarillonError("UNAUTHENTICATED", "auth.token must be text");
  if (inHeader !== undefined && inHeader !== inAuth) {
    throw new CarillonError("UNAUTHENTICATED", "auth.token and the Authorization header differ: send one of them");
  }
  return inAuth;
}
