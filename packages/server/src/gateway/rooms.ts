/**
 * Names of rooms inside the Socket.IO adapter. `*` and `#` are in no entity room's alphabet, so that a client's choice of name
 * never meets one of ours.
 */
import type { Principal } from "../auth/principal.ts";

/** All connections of a refresh namespace that are whole. */
export const EVERYBODY = "*";

export const userRoom = (user: string): string => `user:${user}`;
export const roleRoom = (role: string): string => `role:${role}`;
export const tenantRoom = (tenant: string): string => `tenant:${tenant}`;

/** Those who subscribed to a channel, in the namespaces that carry any channel. */
export const channelRoom = (channel: string): string => `#${channel}`;

/** An entity room within a channel, in the namespaces that carry any channel. */
export const entityRoom = (channel: string, room: string): string => `#${channel}#${room}`;

/** The rooms that a connection is in without asking. */
export function identityRooms({ user, roles, tenant }: Principal): string[] {
  const rooms = roles.map(roleRoom);
  if (user !== undefined) rooms.unshift(userRoom(user));
  if (tenant !== undefined) rooms.push(tenantRoom(tenant));
  return rooms;
}

/**
 * Every socket is alone in a room named by its id, and stock emitters send to that room. `~` is in no entity room's alphabet, so
 * that nobody can join another's; by their form alone Socket.IO's own ids can't be told from names like `K3f9…` of 20 letters.
 */
export const socketId = (id: string): string => `~${id}`;
