/** Engine.IO, a namespace and connections by hand, as slow as the test says. */
import { EventEmitter } from "node:events";
import type { Socket } from "socket.io";
import type { Principal } from "../../src/auth/principal.ts";
import { Batch } from "../../src/gateway/batch.ts";
import { Connection } from "../../src/gateway/connection.ts";
import type { EngineTransport } from "../../src/gateway/engine.ts";
import type { FrameStyle } from "../../src/gateway/frames.ts";
import { channelRoom, EVERYBODY, entityRoom, identityRooms } from "../../src/gateway/rooms.ts";
import { SocketIoTransport } from "../../src/gateway/socket-io-transport.ts";
import type { Writer } from "../../src/gateway/write-queue.ts";

interface Packet {
  type: string;
  data?: string;
  options: { bytes?: number };
}

/** Buffers and flushes as Engine.IO's Socket does; `sent()` is the moment at which everything has left the process. */
export class FakeEngine extends EventEmitter {
  readyState = "open";
  transport: EngineTransport & EventEmitter & { writable: boolean } = Object.assign(new EventEmitter(), {
    writable: true,
    name: "websocket",
  });
  writeBuffer: Packet[] = [];
  readonly written: string[] = [];
  /** Whether what is sent leaves at once. */
  reads = true;

  write(data: string, options: object): void {
    this.send("message", data, options);
  }

  ping(): void {
    this.send("ping", undefined, {});
  }

  sent(): void {
    this.transport.writable = true;
    this.#flush();
    this.transport.emit("ready");
  }

  close(): void {
    this.readyState = "closed";
  }

  send(type: string, data: string | undefined, options: object): void {
    const packet: Packet = { type, options, ...(data !== undefined && { data }) };
    this.emit("packetCreate", packet);
    this.writeBuffer.push(packet);
    this.#flush();
  }

  #flush(): void {
    if (!this.transport.writable || this.writeBuffer.length === 0) return;
    this.emit("flush", this.writeBuffer);
    for (const { data } of this.writeBuffer) if (data !== undefined) this.written.push(data);
    this.writeBuffer = [];
    this.transport.writable = this.reads;
  }
}

/** Writes what it is given at once. */
const noWriteQueue = { nothing: new Batch(), add: (writer: Writer) => writer.flush() };

const anybody: Principal = {
  user: undefined,
  roles: [],
  tenant: undefined,
  sid: undefined,
  kind: "open",
  grants: { channels: () => true, publish: () => true, rooms: () => true },
  expiresMs: undefined,
  issuedMs: 0,
};

export interface FakeConnection extends Connection {
  readonly fake: FakeEngine;
}

/** A connection that is live at 1-0, and in the rooms of `namespace` where there is one. */
export function connectionOf(
  options: {
    id?: string;
    principal?: Partial<Principal>;
    style?: FrameStyle;
    namespace?: FakeNamespace;
    rooms?: readonly (readonly [string, string])[];
    channels?: readonly string[];
    pid?: string;
  } = {},
): FakeConnection {
  const {
    id = "a",
    principal,
    style = { namespace: "/trips", ownChannel: "trips", ids: "args" },
    namespace,
    rooms = [],
    channels = [],
    pid,
  } = options;
  const fake = new FakeEngine();
  const socket = { id, pid, conn: fake, data: {} } as unknown as Socket;
  const connection = new Connection({
    socket,
    style,
    principal: { ...anybody, ...principal },
    transport: new SocketIoTransport(fake, noWriteQueue),
  });
  socket.data.connection = connection;
  connection.state = "live";
  connection.moveTo({ epoch: 1, n: 0 });
  for (const channel of channels)
    connection.channels.set(channel, { release: () => {}, active: true, recovered: false });
  for (const [channel, room] of rooms) connection.addRoom(channel, room);
  if (namespace !== undefined) {
    namespace.sockets.set(id as never, socket as never);
    namespace.enter(id, EVERYBODY, ...identityRooms(connection.principal));
    namespace.enter(id, ...channels.map(channelRoom));
    namespace.enter(
      id,
      ...rooms.map(([channel, room]) => (style.ownChannel === undefined ? entityRoom(channel, room) : room)),
    );
  }
  return Object.assign(connection, { fake });
}

export class FakeNamespace {
  readonly sockets = new Map<never, never>();
  readonly adapter = { rooms: new Map<string, Set<string>>() };

  enter(id: string, ...rooms: string[]): void {
    for (const room of rooms) this.adapter.rooms.set(room, (this.adapter.rooms.get(room) ?? new Set()).add(id));
  }
}

/** The same numbers for the same seed, so that a failure can be had again. */
export function random(seed: number): {
  below(n: number): number;
  pick<T>(from: readonly T[]): T;
  some<T>(from: readonly T[]): T[];
} {
  let state = seed;
  const next = () => {
    state = (state * 1_664_525 + 1_013_904_223) % 4_294_967_296;
    return state / 4_294_967_296;
  };
  const below = (n: number) => Math.floor(next() * n);
  return { below, pick: (from) => from[below(from.length)]!, some: (from) => from.filter(() => next() < 0.4) };
}
