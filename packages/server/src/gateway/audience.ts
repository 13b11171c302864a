/**
 * Who hears a publication. Two forms of one rule, side by side: `targets` finds them among the live by rooms, `hears` asks for
 * one connection that catches up. A test compares the two on random input.
 */
import { type Audience, isGap, type LogEntry, type Publication } from "@carillon/protocol";
import type { Connection } from "./connection.ts";
import {
  channelRoom,
  EVERYBODY,
  entityRoom,
  identityRooms,
  isIdentityRoom,
  roleRoom,
  tenantRoom,
  userRoom,
} from "./rooms.ts";

/** What is read of a namespace: its adapter's rooms, and its sockets. */
export interface RoomIndex {
  readonly sockets: ReadonlyMap<string, { readonly data: { connection?: Connection } }>;
  readonly adapter: { readonly rooms: ReadonlyMap<string, ReadonlySet<string>> };
}

export function connectionOf(namespace: RoomIndex, socketId: string): Connection | undefined {
  return namespace.sockets.get(socketId)?.data.connection;
}

/** The live connections of one namespace that hear `entry`. */
export function targets(namespace: RoomIndex, ownChannel: string | undefined, entry: LogEntry): Connection[] {
  if (isGap(entry)) return gapTargets(namespace, ownChannel, entry.gap.channels);
  if (ownChannel !== undefined && entry.channel !== ownChannel) return [];
  const { to } = entry;
  const everybody = namespace.adapter.rooms.get(ownChannel === undefined ? channelRoom(entry.channel) : EVERYBODY);
  if (everybody === undefined) return [];
  const found: Connection[] = [];
  if (to === undefined) return collect(namespace, everybody, found);
  const ids = isSelective(to) ? union(namespace, ownChannel, entry.channel, to) : everybody;
  collect(namespace, ids, found);
  return found.filter(
    (connection) => everybody.has(connection.socket.id) && !isExcepted(connection, entry.channel, to.except),
  );
}

export function hears(connection: Connection, entry: LogEntry): boolean {
  if (isGap(entry))
    return entry.gap.channels === undefined || entry.gap.channels.some((channel) => connection.listensTo(channel));
  return connection.listensTo(entry.channel) && isFor(connection, entry);
}

/** The same for one channel that the connection is about to listen to. */
export function hearsOn(connection: Connection, channel: string, entry: LogEntry): boolean {
  if (isGap(entry)) return entry.gap.channels === undefined || entry.gap.channels.includes(channel);
  return entry.channel === channel && isFor(connection, entry);
}

function isFor(connection: Connection, entry: Publication): boolean {
  const { to } = entry;
  if (to === undefined) return true;
  if (isExcepted(connection, entry.channel, to.except)) return false;
  return !isSelective(to) || isMeant(connection, entry.channel, to);
}

function gapTargets(
  namespace: RoomIndex,
  ownChannel: string | undefined,
  channels: readonly string[] | undefined,
): Connection[] {
  const found: Connection[] = [];
  if (ownChannel !== undefined) {
    return channels === undefined || channels.includes(ownChannel)
      ? collect(namespace, namespace.adapter.rooms.get(EVERYBODY), found)
      : found;
  }
  if (channels === undefined) return collect(namespace, namespace.adapter.rooms.get(EVERYBODY), found);
  const ids = new Set<string>();
  for (const channel of channels) for (const id of namespace.adapter.rooms.get(channelRoom(channel)) ?? []) ids.add(id);
  return collect(namespace, ids, found);
}

/** `{ users: [] }` is a list, and names nobody. */
function isSelective(to: Audience): boolean {
  return to.users !== undefined || to.roles !== undefined || to.tenants !== undefined || to.rooms !== undefined;
}

function union(namespace: RoomIndex, ownChannel: string | undefined, channel: string, to: Audience): Set<string> {
  const ids = new Set<string>();
  const add = (room: string) => {
    for (const id of namespace.adapter.rooms.get(room) ?? []) ids.add(id);
  };
  for (const user of to.users ?? []) add(userRoom(user));
  for (const role of to.roles ?? []) add(roleRoom(role));
  for (const tenant of to.tenants ?? []) add(tenantRoom(tenant));
  for (const room of to.rooms ?? [])
    add(ownChannel !== undefined || isIdentityRoom(room) ? room : entityRoom(channel, room));
  return ids;
}

function collect(namespace: RoomIndex, ids: Iterable<string> | undefined, into: Connection[]): Connection[] {
  for (const id of ids ?? []) {
    const connection = connectionOf(namespace, id);
    if (connection?.state === "live") into.push(connection);
  }
  return into;
}

function isMeant(connection: Connection, channel: string, to: Audience): boolean {
  const { user, roles, tenant } = connection.principal;
  return (
    (user !== undefined && (to.users?.includes(user) ?? false)) ||
    (to.roles?.some((role) => roles.includes(role)) ?? false) ||
    (tenant !== undefined && (to.tenants?.includes(tenant) ?? false)) ||
    (to.rooms?.some((room) => isMember(connection, channel, room)) ?? false)
  );
}

function isExcepted(connection: Connection, channel: string, except: Audience["except"]): boolean {
  if (except === undefined) return false;
  const { user } = connection.principal;
  return (
    (user !== undefined && (except.users?.includes(user) ?? false)) ||
    (except.sockets?.includes(connection.socket.id) ?? false) ||
    (except.rooms?.some((room) => isMember(connection, channel, room)) ?? false)
  );
}

function isMember(connection: Connection, channel: string, room: string): boolean {
  return isIdentityRoom(room) ? identityRooms(connection.principal).includes(room) : connection.isIn(channel, room);
}
