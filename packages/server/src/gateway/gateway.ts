/**
 * Connections on this node: lets them in, makes them whole, hands each log entry to those who may hear it, and brings back those
 * who read too slowly.
 */
import type { Interest, Logger, Meter, Sequencer, SequencerListener, SessionRecord } from "@carillon/core";
import { CarillonError, EVENT, formatId, isGap, type LogEntry, type Position, parseId } from "@carillon/protocol";
import type { Namespace, Server, Socket } from "socket.io";
import type { Authenticator, Policy } from "../auth/principal.ts";
import { targets } from "./audience.ts";
import { type CatchUp, type StartingPoint, startingPoint } from "./catch-up.ts";
import { Connection, type EngineConnection, type Outbound } from "./connection.ts";
import { Deliveries } from "./deliveries.ts";
import { entryFrame, eventFrame, type FrameStyle, gapFrame, gapFrameAt, type IdForm } from "./frames.ts";
import { enterRoom, type Requests } from "./requests.ts";
import { channelRoom, EVERYBODY, identityRooms } from "./rooms.ts";
import { cutReplays, type SessionKeeper } from "./session-keeper.ts";

export interface GatewayOptions {
  readonly io: Server;
  /** Opaque name of this node, as clients see it. */
  readonly node: string;
  /** Each carries the channel of its name. */
  readonly refreshNamespaces: readonly string[];
  /** These carry any channel by subscription. */
  readonly channelNamespaces: readonly string[];
  readonly authenticator: Authenticator;
  readonly policy: Policy;
  readonly sequencer: Sequencer;
  readonly catchUp: CatchUp;
  readonly requests: Requests;
  readonly sessions: SessionKeeper;
  readonly interest: Pick<Interest, "acquire">;
  readonly sliceSize: number;
  readonly highWaterMarkBytes: number;
  readonly meter: Meter;
  readonly logger: Logger;
}

/** One namespace and the styles of its connections; two connections of equal style share an encoded frame. */
interface Hub {
  readonly namespace: Namespace;
  readonly ownChannel: string | undefined;
  readonly styles: Readonly<Record<IdForm, FrameStyle>>;
}

const DRAIN_CHECK_MS = 100;

export class Gateway implements SequencerListener {
  readonly #options: GatewayOptions;
  readonly #hubs: readonly Hub[];
  readonly #deliveries: Deliveries;
  readonly #outbound = new WeakMap<object, Outbound>();
  readonly #behind = new Set<Connection>();

  constructor(options: GatewayOptions) {
    this.#options = options;
    const { refreshNamespaces, channelNamespaces, meter } = options;
    this.#hubs = [
      ...refreshNamespaces.map((channel) => this.#hub(`/${channel}`, channel)),
      ...channelNamespaces.map((name) => this.#hub(name, undefined)),
    ];
    this.#deliveries = new Deliveries({
      sliceSize: options.sliceSize,
      highWaterMarkBytes: options.highWaterMarkBytes,
      onSlow: (connection) => this.#fallBehind(connection),
      onWritten: (count) => meter.count("deliveries", count, { kind: "live" }),
    });
    options.sequencer.listen(this);
  }

  /** Live connections by namespace. */
  connections(): ReadonlyMap<string, number> {
    return new Map(this.#hubs.map(({ namespace }) => [namespace.name, namespace.sockets.size]));
  }

  /** Open transports by kind. */
  transports(): ReadonlyMap<string, number> {
    const counts = new Map([
      ["websocket", 0],
      ["polling", 0],
    ]);
    for (const { transport } of this.#engines()) counts.set(transport.name, (counts.get(transport.name) ?? 0) + 1);
    return counts;
  }

  /** Closes up to `count` transports, so that their clients come back elsewhere by themselves. Returns how many are left. */
  closeSome(count: number): number {
    let closed = 0;
    for (const engine of this.#engines()) {
      if (closed++ >= count) break;
      engine.close();
    }
    return this.openTransports;
  }

  get openTransports(): number {
    return this.#options.io.engine?.clientsCount ?? 0;
  }

  get slow(): number {
    return this.#behind.size;
  }

  /** The position up to which nothing is still to be written to `connection`. */
  settled(connection: Connection): Position {
    const here = this.#options.sequencer.position ?? connection.position;
    return connection.state === "live" && this.#deliveries.queued === 0 && connection.awaits(here) ? here : connection.position;
  }

  entry(entry: LogEntry): void {
    const position = parseId(entry.id)!;
    for (const { namespace, ownChannel } of this.#hubs) {
      const found = targets(namespace, ownChannel, entry);
      if (isGap(entry)) this.#options.meter.count("gapsTold", found.length, { cause: "feed" });
      this.#deliveries.push({ position, targets: found, encode: (style) => entryFrame(style, entry) });
    }
  }

  gap(position: Position, cause: string): void {
    for (const { namespace, ownChannel } of this.#hubs) {
      const found = targets(namespace, ownChannel, { gap: {}, id: formatId(position), timestampMs: 0 });
      this.#options.meter.count("gapsTold", found.length, { cause });
      this.#deliveries.push({ position, targets: found, encode: (style) => gapFrameAt(style, position) });
    }
  }

  #engines(): EngineConnection[] {
    return Object.values((this.#options.io.engine as unknown as { clients: Record<string, EngineConnection> } | undefined)?.clients ?? {});
  }

  #hub(name: string, ownChannel: string | undefined): Hub {
    const namespace = this.#options.io.of(name);
    const hub: Hub = {
      namespace,
      ownChannel,
      styles: { args: { namespace: name, ownChannel, ids: "args" }, event: { namespace: name, ownChannel, ids: "event" } },
    };
    namespace.use((socket, next) => {
      this.#authenticate(socket, hub).then(
        () => next(),
        (error: unknown) => next(connectError(error, this.#options.logger)),
      );
    });
    namespace.on("connection", (socket) => this.#connected(socket));
    return hub;
  }

  async #authenticate(socket: Socket, hub: Hub): Promise<void> {
    const { authenticator, policy } = this.#options;
    const { auth, headers } = socket.handshake;
    const principal = await authenticator.authenticate({ auth, headers });
    if (!policy.mayEnter(principal, hub.namespace.name)) throw new CarillonError("FORBIDDEN");
    const style = hub.styles[auth.ids === "event" ? "event" : "args"];
    socket.data.connection = new Connection({ socket, principal, style, outbound: this.#outboundOf(socket) });
  }

  #connected(socket: Socket): void {
    const { requests, meter, logger } = this.#options;
    const connection = socket.data.connection as Connection;
    const { auth } = socket.handshake;
    socket.on("disconnect", () => this.#disconnected(connection));
    socket.onAny((event: unknown, ...args: unknown[]) => requests.handle(connection, event, args));
    meter.count("handshakes", 1, { outcome: "connected" });
    connection.whole = this.#welcome(connection, auth).catch((error: unknown) => {
      logger.error({ err: error }, "a connection could not be made whole");
      connection.engine.close();
    });
  }

  async #welcome(connection: Connection, auth: Readonly<Record<string, unknown>>): Promise<void> {
    const { sessions, catchUp, meter } = this.#options;
    const from = startingPoint(auth);
    const record = from.kind === "fresh" ? undefined : await sessions.restore(connection, auth.pid);
    if (record !== undefined) await this.#restore(connection, record);
    const cut = record === undefined || from.kind !== "offset" ? [] : cutReplays(record, from.position);
    const recovered = await catchUp.run(connection, from, (whole) => {
      const id = formatId(connection.position);
      if (whole && cut.length > 0) connection.write(gapFrame(connection.style, cut, id));
      this.#enter(connection);
      connection.write(eventFrame(connection.style, EVENT.ready, this.#readyArgument(connection, whole), id));
    });
    if (from.kind !== "fresh") meter.count("resumes", 1, { outcome: recovered === undefined ? "closed" : recovered ? "whole" : "gap" });
  }

  async #restore(connection: Connection, record: SessionRecord): Promise<void> {
    const releases = await Promise.all(record.channels.map((channel) => this.#options.interest.acquire(channel)));
    record.channels.forEach((channel, index) => {
      connection.channels.set(channel, releases[index]!);
    });
    for (const [channel, room] of record.rooms) connection.rooms.set(channel, (connection.rooms.get(channel) ?? new Set()).add(room));
    if (connection.state === "closed") this.#letGo(connection);
    else if (record.channels.length > 0 || record.rooms.length > 0) await this.#saveUntilClosed(connection);
  }

  /** A client that came back must be able to come back again, so this waits for the store as the client does. */
  async #saveUntilClosed(connection: Connection): Promise<void> {
    while (connection.state !== "closed") {
      try {
        return await this.#options.sessions.save(connection);
      } catch {
        await new Promise((resolve) => setTimeout(resolve, 500));
      }
    }
  }

  /** Into every room that publications go to. Synchronous with in-memory rooms, which ours are. */
  #enter(connection: Connection): void {
    const rooms = [EVERYBODY, ...identityRooms(connection.principal)];
    for (const channel of connection.channels.keys()) rooms.push(channelRoom(channel));
    void connection.socket.join(rooms);
    for (const [channel, names] of connection.rooms) for (const room of names) enterRoom(connection, channel, room);
  }

  #leaveAll(connection: Connection): void {
    for (const room of connection.socket.rooms) if (room !== connection.socket.id) void connection.socket.leave(room);
  }

  #readyArgument(connection: Connection, recovered: boolean): string {
    const { principal, style } = connection;
    const entityRooms = [...connection.rooms].flatMap(([channel, names]) =>
      [...names].map((room) => (style.ownChannel === undefined ? `${channel}/${room}` : room)),
    );
    return JSON.stringify({
      node: this.#options.node,
      user: principal.user ?? null,
      rooms: [...identityRooms(principal), ...entityRooms],
      channels: style.ownChannel === undefined ? [...connection.channels.keys()] : [style.ownChannel],
      recovered,
    });
  }

  /** Over the high-water mark: off the live path until it has read what it was sent, then back the way it joined. */
  #fallBehind(connection: Connection): void {
    connection.state = "behind";
    this.#leaveAll(connection);
    this.#behind.add(connection);
    const from = connection.position;
    const timer = setInterval(() => {
      if (connection.state === "closed") return clearInterval(timer);
      if (!connection.drained) return;
      clearInterval(timer);
      void this.#comeBack(connection, { kind: "offset", position: from });
    }, DRAIN_CHECK_MS);
  }

  async #comeBack(connection: Connection, from: StartingPoint): Promise<void> {
    await this.#options.catchUp.run(connection, from, () => this.#enter(connection));
    this.#behind.delete(connection);
  }

  #disconnected(connection: Connection): void {
    connection.state = "closed";
    this.#behind.delete(connection);
    this.#options.sessions.forget(connection);
    this.#letGo(connection);
  }

  #letGo(connection: Connection): void {
    for (const release of connection.channels.values()) release();
    connection.channels.clear();
  }

  #outboundOf(socket: Socket): Outbound {
    let outbound = this.#outbound.get(socket.conn);
    if (outbound === undefined) {
      outbound = { unsentBytes: 0 };
      this.#outbound.set(socket.conn, outbound);
    }
    return outbound;
  }
}

/** A refusal as stock clients get it: `connect_error` with `data.code`. */
function connectError(error: unknown, logger: Logger): Error {
  const known = error instanceof CarillonError ? error : new CarillonError("INTERNAL");
  if (known !== error) logger.error({ err: error }, "a handshake failed");
  return Object.assign(new Error(known.message), { data: { code: known.code } });
}
