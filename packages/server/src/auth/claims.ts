import { CarillonError, isPlainObject, isPrincipalId, parsePrincipalId } from "@carillon/protocol";
import type { Patterns } from "./patterns.ts";
import type { Principal } from "./principal.ts";

/** Clocks may differ by this much. */
export const LEEWAY_S = 30;
const MAX_ROLES = 200;

export interface ClaimPaths {
  /** `roles`, `realm_access.roles`, or a name with dots of its own (`https://example.com/roles`). */
  readonly roles: string;
  readonly tenant: string;
}

/** What verified claims say, as a principal. Throws `UNAUTHENTICATED` where they lack what every token must have. */
export function principalFromClaims(
  claims: Readonly<Record<string, unknown>>,
  paths: ClaimPaths,
  patterns: Patterns,
): Principal {
  const { exp, iat, sub, sid } = claims;
  if (typeof exp !== "number" || !Number.isFinite(exp))
    throw new CarillonError("UNAUTHENTICATED", "the token has no exp");
  const tenant = at(claims, paths.tenant);
  return {
    user: subject(sub),
    roles: roles(at(claims, paths.roles)),
    tenant: tenant === undefined || tenant === null || tenant === "" ? undefined : identity(tenant, "tenant"),
    sid: isPrincipalId(sid) ? sid : undefined,
    kind: "user",
    grants: {
      channels: patterns.compile(claims.channels),
      publish: patterns.compile(claims.publish),
      rooms: patterns.compile(claims.rooms),
    },
    expiresMs: exp * 1000,
    issuedMs: typeof iat === "number" && Number.isFinite(iat) ? iat * 1000 : 0,
  };
}

function subject(sub: unknown): string {
  if (sub === undefined) throw new CarillonError("UNAUTHENTICATED", "the token has no sub");
  return identity(sub, "sub");
}

function identity(value: unknown, claim: string): string {
  try {
    return parsePrincipalId(value);
  } catch {
    throw new CarillonError("UNAUTHENTICATED", `the token's ${claim} is not an id of 1 to 128 bytes`);
  }
}

function roles(value: unknown): string[] {
  const items = typeof value === "string" ? value.split(/[\s,]+/) : Array.isArray(value) ? value : [];
  return [...new Set(items.filter(isPrincipalId))].slice(0, MAX_ROLES);
}

function at(claims: Readonly<Record<string, unknown>>, path: string): unknown {
  if (Object.hasOwn(claims, path)) return claims[path];
  let value: unknown = claims;
  for (const key of path.split(".")) {
    if (!isPlainObject(value) || !Object.hasOwn(value, key)) return undefined;
    value = value[key];
  }
  return value;
}
