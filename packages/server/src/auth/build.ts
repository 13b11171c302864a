/** Puts authentication and authorization together from the settings; `AUTH=off` is one more way, not a special case elsewhere. */
import { type Logger, type Meter, RevocationList, type Revocations, type TicketStore } from "@carillon/core";
import type { CallerAuthenticator } from "../http/deps.ts";
import { openCallers } from "../http/open-callers.ts";
import { mayUseCookies } from "../http/origins.ts";
import type { Settings } from "../settings/load.ts";
import { ApiKeys } from "./api-keys.ts";
import { CredentialsAuthenticator } from "./authenticator.ts";
import { Callers } from "./callers.ts";
import { KeySet } from "./key-set.ts";
import { openAuthenticator, openPolicy } from "./open.ts";
import { Patterns } from "./patterns.ts";
import { tokenPolicy } from "./policy.ts";
import type { Authenticator, Policy } from "./principal.ts";
import { SessionClaims } from "./session-claims.ts";
import { Tickets } from "./tickets.ts";
import { Tokens } from "./tokens.ts";

export interface Auth {
  /** Of connections. */
  readonly authenticator: Authenticator;
  readonly policy: Policy;
  /** Of HTTP requests. */
  readonly callers: CallerAuthenticator;
  readonly revocations: RevocationList;
  readonly tickets: Tickets;
}

export interface BuildAuthOptions {
  readonly settings: Pick<Settings, "auth" | "namespaces" | "corsOrigins">;
  readonly revocations: Revocations;
  readonly tickets: TicketStore;
  /** The port of this node's pages, where sockets have one of their own. */
  readonly pagePort?: () => number | undefined;
  readonly meter: Meter;
  readonly logger: Logger;
}

export function buildAuth(options: BuildAuthOptions): Auth {
  const { settings, revocations: store, meter, logger, pagePort } = options;
  const { auth, corsOrigins } = settings;
  const namespaces = new Set(settings.namespaces);
  const revocations = new RevocationList({ store, logger, retentionMs: auth.revocationRetentionS * 1000 });
  const patterns = new Patterns(namespaces);
  const tickets = new Tickets({ store: options.tickets, revocations, patterns, open: auth.mode === "off" });
  if (auth.mode === "off")
    return { authenticator: openAuthenticator, policy: openPolicy, callers: openCallers, revocations, tickets };
  const claims = { roles: auth.rolesClaim, tenant: auth.tenantClaim };
  const hasTokens = auth.jwtSecret !== undefined || auth.jwtPublicKey !== undefined || auth.jwksUrl !== undefined;
  const tokens = hasTokens
    ? new Tokens({
        secret: auth.jwtSecret,
        publicKey: auth.jwtPublicKey,
        keySet: auth.jwksUrl === undefined ? undefined : new KeySet({ url: auth.jwksUrl, logger, meter }),
        issuer: auth.issuer,
        audience: auth.audience,
        claims,
        patterns,
      })
    : undefined;
  const sessions =
    auth.authUrl === undefined ? undefined : new SessionClaims({ url: auth.authUrl, claims, patterns, logger });
  const authenticator = new CredentialsAuthenticator({
    tokens,
    sessions,
    revocations,
    trustsCookies: ({ origin, host }) => mayUseCookies(text(origin), text(host), corsOrigins, pagePort?.()),
  });
  const policy = tokenPolicy({
    namespaces,
    namespaceRoles: auth.namespaceRoles,
    openChannels: auth.openChannels,
    operatorRole: auth.operatorRole,
  });
  return {
    authenticator,
    policy,
    callers: new Callers({ keys: new ApiKeys(auth.apiKeys, namespaces), users: authenticator, policy }),
    revocations,
    tickets,
  };
}

/** A header that came twice is nobody's. */
function text(header: string | string[] | undefined): string | undefined {
  return Array.isArray(header) ? "" : header;
}
