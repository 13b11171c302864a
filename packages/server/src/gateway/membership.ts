/** The rooms of the Socket.IO adapter that a connection is in. Joining and leaving are synchronous there, as ours are in memory. */
import type { Connection } from "./connection.ts";
import { channelRoom, EVERYBODY, entityRoom, identityRooms } from "./rooms.ts";

/** Into every room that publications go to. */
export function enterAllRooms(connection: Connection): void {
  const rooms = [EVERYBODY, ...identityRooms(connection.principal)];
  for (const [channel, { active }] of connection.channels) if (active) rooms.push(channelRoom(channel));
  void connection.socket.join(rooms);
  for (const [channel, names] of connection.rooms) for (const room of names) enterRoom(connection, channel, room);
}

export function leaveAllRooms({ socket }: Connection): void {
  for (const room of socket.rooms) if (room !== socket.id) void socket.leave(room);
}

export function enterRoom(connection: Connection, channel: string, room: string): void {
  void connection.socket.join(adapterRoom(connection, channel, room));
}

export function leaveRoom(connection: Connection, channel: string, room: string): void {
  void connection.socket.leave(adapterRoom(connection, channel, room));
}

function adapterRoom({ style }: Connection, channel: string, room: string): string {
  return style.ownChannel === undefined ? entityRoom(channel, room) : room;
}
