/**
 * Who hears a publication. Three forms of one rule, side by side: `targets` finds them among the live by rooms, `hears` asks for
 * one connection that catches up, `mayRead` for a user without any. A test compares the first two on random input.
 */
import { type Audience, isGap, isIdentityRoom, type LogEntry, type Publication } from "@carillon/protocol";
import type { Policy, Principal } from "../auth/principal.ts";
import type { Connection } from "./connection.ts";
import { channelRoom, EVERYBODY, entityRoom, identityRooms, roleRoom, tenantRoom, userRoom } from "./rooms.ts";

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

/** The same outside of any connection, in a channel that the user may hear: as one that is in every room it is allowed to join would. */
export function mayRead(principal: Principal, { channel, to }: Publication, policy: Pick<Policy, "mayJoin">): boolean {
  if (to === undefined) return true;
  const isIn = membership(principal, (room) => policy.mayJoin(principal, channel, room));
  return !isNamed(to.except, principal, isIn) && (!isSelective(to) || isNamed(to, principal, isIn));
}

function isFor(connection: Connection, { channel, to }: Publication): boolean {
  if (to === undefined) return true;
  if (isExcepted(connection, channel, to.except)) return false;
  return !isSelective(to) || isNamed(to, connection.principal, membershipOf(connection, channel));
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

function isExcepted(connection: Connection, channel: string, except: Audience["except"]): boolean {
  if (except === undefined) return false;
  const { socket, principal } = connection;
  return (
    (except.sockets?.includes(socket.id) ?? false) || isNamed(except, principal, membershipOf(connection, channel))
  );
}

/** Whether one of the lists has them. */
function isNamed(lists: Audience | undefined, { user, roles, tenant }: Principal, isIn: Membership): boolean {
  return (
    (user !== undefined && (lists?.users?.includes(user) ?? false)) ||
    (lists?.roles?.some((role) => roles.includes(role)) ?? false) ||
    (tenant !== undefined && (lists?.tenants?.includes(tenant) ?? false)) ||
    (lists?.rooms?.some(isIn) ?? false)
  );
}

type Membership = (room: string) => boolean;

function membershipOf(connection: Connection, channel: string): Membership {
  return membership(connection.principal, (room) => connection.isIn(channel, room));
}

function membership(principal: Principal, isInEntityRoom: Membership): Membership {
  return (room) => (isIdentityRoom(room) ? identityRooms(principal).includes(room) : isInEntityRoom(room));
}
