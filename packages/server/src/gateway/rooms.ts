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

/** Whether `to.rooms` names somebody by identity (`user:42`) rather than an entity room. */
export function isIdentityRoom(room: string): boolean {
  return room.startsWith("user:") || room.startsWith("role:") || room.startsWith("tenant:");
}

/** Socket.IO's own ids: 15 bytes in base64, the last three a counter. Every socket is alone in a room of that name. */
const SOCKET_ID = /^[A-Za-z0-9_-]{16}[A-P][A-Za-z0-9_-]{3}$/;

export function looksLikeSocketId(room: string): boolean {
  return SOCKET_ID.test(room);
}
