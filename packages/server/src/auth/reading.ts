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
  if (isUser(to.except?.users)) return false;
  const { users, tenants, rooms } = to;
  if (users === undefined && to.roles === undefined && tenants === undefined && rooms === undefined) return true;
  return (
    isUser(users) ||
    (to.roles?.some((role) => roles.includes(role)) ?? false) ||
    (tenant !== undefined && (tenants?.includes(tenant) ?? false)) ||
    (rooms?.some((room) => isInRoom(principal, room) || policy.mayJoin(principal, channel, room)) ?? false)
  );
}

function isInRoom({ user, roles, tenant }: Principal, room: string): boolean {
  return room === `user:${user}` || room === `tenant:${tenant}` || roles.some((role) => room === `role:${role}`);
}
