import { CarillonError, isPlainObject, parsePrincipalId } from "@carillon/protocol";
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

/**
 * What verified claims say, as a principal. Throws `UNAUTHENTICATED` where they lack what every token must have, and where they
 * were issued in the future: no revocation would ever reach them.
 */
export function principalFromClaims(
  claims: Readonly<Record<string, unknown>>,
  paths: ClaimPaths,
  patterns: Patterns,
): Principal {
  const { exp, iat, sub, sid } = claims;
  if (typeof exp !== "number" || !Number.isFinite(exp))
    throw new CarillonError("UNAUTHENTICATED", "the token has no exp");
  if (typeof iat === "number" && iat * 1000 > Date.now() + LEEWAY_S * 1000)
    throw new CarillonError("UNAUTHENTICATED", "the token's iat is in the future");
  const tenant = at(claims, paths.tenant);
  return {
    user: subject(sub),
    roles: roles(at(claims, paths.roles)),
    tenant: tenant === undefined || tenant === null || tenant === "" ? undefined : identity(tenant, "tenant"),
    sid: sid === undefined || sid === null || sid === "" ? undefined : identity(sid, "sid"),
    kind: "user",
    grants: patterns.grants(claims),
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
  const names = items.slice(0, MAX_ROLES).map(roleName);
  return [...new Set(names.filter((name) => name !== undefined))];
}

/** What can't be a role grants nothing; it is no reason to lock its user out. */
function roleName(value: unknown): string | undefined {
  try {
    return parsePrincipalId(value);
  } catch {
    return undefined;
  }
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
