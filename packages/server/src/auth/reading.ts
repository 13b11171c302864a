import type { Publication } from "@carillon/protocol";
import type { Policy, Principal } from "./principal.ts";

/**
 * Whether a user may read a publication outside of any connection, in a channel that they may hear: as one that is in every room
 * it is allowed to join would.
 */
export function mayRead(principal: Principal, { channel, to }: Publication, policy: Policy): boolean {
  if (to === undefined) return true;
  const { user, roles, tenant } = principal;
  const isUser = (users: readonly string[] | undefined) => user !== undefined && (users?.includes(user) ?? false);
  const isIn = (room: string) => isIdentity(principal, room) || policy.mayJoin(principal, channel, room);
  if (isUser(to.except?.users) || (to.except?.rooms?.some(isIn) ?? false)) return false;
  const { users, tenants, rooms } = to;
  if (users === undefined && to.roles === undefined && tenants === undefined && rooms === undefined) return true;
  return (
    isUser(users) ||
    (to.roles?.some((role) => roles.includes(role)) ?? false) ||
    (tenant !== undefined && (tenants?.includes(tenant) ?? false)) ||
    (rooms?.some(isIn) ?? false)
  );
}

function isIdentity({ user, roles, tenant }: Principal, room: string): boolean {
  return (
    (user !== undefined && room === `user:${user}`) ||
    (tenant !== undefined && room === `tenant:${tenant}`) ||
    roles.some((role) => room === `role:${role}`)
  );
}
