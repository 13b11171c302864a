import { CarillonError, isPrincipalId, parsePrincipalId } from "@carillon/protocol";
import type { Authenticator, Credentials, Policy, Principal } from "./principal.ts";

const MAX_ROLES = 100;
const everything = { channels: () => true, publish: () => true, rooms: () => true };

/** `AUTH=off`: the handshake is believed. */
export const openAuthenticator: Authenticator = {
  async authenticate({ auth }: Credentials): Promise<Principal> {
    return openPrincipal(optionalId(auth.user), roles(auth.roles), optionalId(auth.tenant));
  },
};

export function openPrincipal(
  user: string | undefined,
  roles: readonly string[] = [],
  tenant?: string | undefined,
): Principal {
  return { user, roles, tenant, sid: undefined, kind: "open", grants: everything, expiresMs: undefined, issuedMs: 0 };
}

/** `AUTH=off`: everybody may do everything. */
export const openPolicy: Policy = {
  mayEnter: () => true,
  mayHear: () => true,
  mayJoin: () => true,
  mayPublish: () => true,
  mayOperate: () => true,
};

function optionalId(value: unknown): string | undefined {
  return value === undefined || value === null || value === "" ? undefined : parsePrincipalId(value);
}

function roles(value: unknown): string[] {
  if (value === undefined || value === null) return [];
  const list = typeof value === "string" ? [value] : value;
  if (!Array.isArray(list) || list.length > MAX_ROLES || !list.every(isPrincipalId)) {
    throw new CarillonError("INVALID_ID", `auth.roles is a list of at most ${MAX_ROLES} role names`);
  }
  return [...new Set<string>(list)];
}
