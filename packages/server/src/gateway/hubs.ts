/** The places that clients connect to, and who is there. */
import type { Namespace, Server, Socket } from "socket.io";
import type { RoomIndex } from "./audience.ts";
import type { Connection } from "./connection.ts";
import type { FrameStyle, IdForm } from "./frames.ts";
import { channelRoom } from "./rooms.ts";

/** A Socket.IO namespace, or all plain clients of one kind. */
export interface Hub {
  readonly namespace: RoomIndex & { readonly name: string };
  /** The channel of a refresh namespace. */
  readonly ownChannel: string | undefined;
}

/** Two connections of equal style share an encoded frame. */
export interface SocketIoHub extends Hub {
  readonly namespace: Namespace;
  readonly styles: Readonly<Record<IdForm, FrameStyle>>;
}

export interface HubsOptions {
  readonly io: Pick<Server, "of">;
  /** Each carries the channel of its name. */
  readonly refreshNamespaces: readonly string[];
  /** These carry any channel by subscription. */
  readonly channelNamespaces: readonly string[];
  readonly plainHubs: readonly Hub[];
}

export class Hubs {
  readonly all: readonly Hub[];
  readonly socketIo: readonly SocketIoHub[];

  constructor({ io, refreshNamespaces, channelNamespaces, plainHubs }: HubsOptions) {
    this.socketIo = [
      ...refreshNamespaces.map((channel) => hub(io, `/${channel}`, channel)),
      ...channelNamespaces.map((name) => hub(io, name, undefined)),
    ];
    this.all = [...this.socketIo, ...plainHubs];
  }

  /** Live connections by namespace. */
  counts(): ReadonlyMap<string, number> {
    return new Map(this.all.map(({ namespace }) => [namespace.name, namespace.sockets.size]));
  }

  /** Everyone who is let in, whole or not. */
  *everyone(): Generator<Connection> {
    for (const { namespace } of this.all) {
      for (const { data } of namespace.sockets.values()) if (data.connection !== undefined) yield data.connection;
    }
  }

  /** About how many hear a channel; all of them without one. */
  audience(channel: string | undefined): number {
    let audience = 0;
    for (const { namespace, ownChannel } of this.all) {
      if (channel === undefined || ownChannel === channel) audience += namespace.sockets.size;
      else if (ownChannel === undefined) audience += namespace.adapter.rooms.get(channelRoom(channel))?.size ?? 0;
    }
    return audience;
  }
}

/** Those who share its transport, and itself, once let in. Socket.IO knows them; a plain client has its transport to itself. */
export function companionsOf(connection: Connection): Connection[] {
  const { client } = connection.socket as { readonly client?: { readonly nsps: ReadonlyMap<string, Socket> } };
  if (client === undefined) return [connection];
  return [...client.nsps.values()].map(({ data }) => data.connection as Connection);
}

function hub(io: HubsOptions["io"], name: string, ownChannel: string | undefined): SocketIoHub {
  return {
    namespace: io.of(name),
    ownChannel,
    styles: {
      args: { namespace: name, ownChannel, ids: "args" },
      event: { namespace: name, ownChannel, ids: "event" },
    },
  };
}
