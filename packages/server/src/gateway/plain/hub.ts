/** Clients that speak no Socket.IO, and the rooms that they are in, found in the same way as those of a Socket.IO namespace. */
import type { RoomIndex } from "../audience.ts";
import type { Connection, Member } from "../connection.ts";
import type { Codec, FrameStyle } from "../frames.ts";
import type { Hub } from "../hubs.ts";
import { socketId } from "../rooms.ts";
import { unguessable } from "../sid.ts";

export class PlainHub implements Hub {
  readonly ownChannel = undefined;
  readonly style: FrameStyle;
  readonly namespace: RoomIndex & { readonly name: string };
  readonly #sockets = new Map<string, PlainMember>();
  readonly #rooms = new Map<string, Set<string>>();

  /** `name` can't be that of a Socket.IO namespace, which begins with a slash. */
  constructor(name: string, codec: Codec) {
    this.style = { namespace: name, ownChannel: undefined, ids: "args", codec };
    this.namespace = { name, sockets: this.#sockets, adapter: { rooms: this.#rooms } };
  }

  /** Somebody who is about to be let in. `pid` is what a client comes back with, where it can. */
  member(pid?: string): PlainMember {
    return new PlainMember(this.#rooms, pid);
  }

  /** From now on its connection is one of those that are counted, looked through and, once in a room, written to. */
  add(member: PlainMember, connection: Connection): void {
    member.data.connection = connection;
    this.#sockets.set(member.id, member);
  }

  remove(member: PlainMember): void {
    this.#sockets.delete(member.id);
    for (const room of member.rooms) member.leave(room);
  }
}

class PlainMember implements Member {
  readonly id = socketId(unguessable());
  readonly pid: string | undefined;
  readonly rooms = new Set<string>();
  readonly data: { connection?: Connection } = {};
  readonly #members: Map<string, Set<string>>;

  constructor(members: Map<string, Set<string>>, pid: string | undefined) {
    this.#members = members;
    this.pid = pid;
  }

  join(rooms: string | string[]): void {
    for (const room of typeof rooms === "string" ? [rooms] : rooms) {
      this.rooms.add(room);
      const members = this.#members.get(room);
      if (members === undefined) this.#members.set(room, new Set([this.id]));
      else members.add(this.id);
    }
  }

  leave(room: string): void {
    this.rooms.delete(room);
    const members = this.#members.get(room);
    members?.delete(this.id);
    if (members?.size === 0) this.#members.delete(room);
  }

  disconnect(): void {
    this.data.connection?.transport.close("FORBIDDEN");
  }
}

export type { PlainMember };
