/**
 * Connections on this node: lets them in, makes them whole, hands each log entry to those who may hear it, and brings back those
 * who read too slowly.
 */
import type { Interest, Logger, Meter, Sequencer, SequencerListener } from "@carillon/core";
import {
  CarillonError,
  comparePositions,
  EVENT,
  formatId,
  isGap,
  type LogEntry,
  type Position,
  parseId,
} from "@carillon/protocol";
import type { Namespace, Server, Socket } from "socket.io";
import type { Authenticator, Policy, Principal } from "../auth/principal.ts";
import { targets } from "./audience.ts";
import { type CatchUp, startingPoint } from "./catch-up.ts";
import { Connection, type StartingPoint } from "./connection.ts";
import { Deliveries } from "./deliveries.ts";
import { entryFrame, eventFrame, type FrameStyle, gapFrame, type IdForm } from "./frames.ts";
import type { Laggards } from "./laggards.ts";
import { enterRoom, type Requests } from "./requests.ts";
import { channelRoom, EVERYBODY, identityRooms, socketId } from "./rooms.ts";
import { cutReplays, isBelowFloor, type KeptRecord, provenPosition, type SessionKeeper } from "./session-keeper.ts";
import type { Spread } from "./spread.ts";
import { type EngineConnection, transportOf } from "./transport.ts";

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
  readonly laggards: Laggards;
  readonly requests: Requests;
  readonly sessions: SessionKeeper;
  readonly spread: Spread;
  readonly interest: Pick<Interest, "acquire">;
  /** Counts a transport of a user. Throws `TOO_MANY_CONNECTIONS`. */
  readonly admit?: (principal: Principal, engine: Socket["conn"]) => Promise<void>;
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

const SAVE_RETRY_MS = 500;
/** Above every number that the log will give, and still the number of an id. */
const BEYOND = 999_999_999_999_999;

export class Gateway implements SequencerListener {
  readonly #options: GatewayOptions;
  readonly #hubs: readonly Hub[];
  readonly #deliveries: Deliveries;
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

  /** Everyone who is let in, whole or not. */
  *everyone(): Generator<Connection> {
    for (const { namespace } of this.#hubs) {
      for (const { data } of namespace.sockets.values())
        if (data.connection !== undefined) yield data.connection as Connection;
    }
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

  /**
   * Closes up to `count` transports, so that their clients come back elsewhere by themselves. Those whose clients wait for an
   * answer come last, and not yet where `patient`.
   */
  closeSome(count: number, patient: boolean): void {
    const open = this.#engines().filter((engine) => engine.readyState === "open");
    const idle = open.filter((engine) => transportOf(engine).pendingRequests === 0);
    const busy = patient ? [] : open.filter((engine) => transportOf(engine).pendingRequests > 0);
    for (const engine of [...idle, ...busy].slice(0, count)) transportOf(engine).close();
  }

  /** Ends all transports now, also those that wait for a client which doesn't read or doesn't poll. */
  terminateAll(): void {
    for (const engine of this.#engines()) transportOf(engine).terminate();
  }

  get openTransports(): number {
    return this.#options.io.engine?.clientsCount ?? 0;
  }

  get slow(): number {
    return this.#behind.size;
  }

  /** The position up to which nothing is still to be written to `connection`. */
  settled(connection: Connection): Position {
    const { position } = connection;
    if (connection.state !== "live") return position;
    // What waits may be a gap, which says nothing about where it begins.
    const upTo = this.#deliveries.waiting === 0 ? this.#options.sequencer.position : undefined;
    return upTo !== undefined && comparePositions(upTo, position) > 0 ? upTo : position;
  }

  /** For a refresh that one connection gets late; as many others probably get theirs. Without a channel: a refresh of everything there. */
  spreadMs(connection: Connection, channel: string | undefined = connection.style.ownChannel): number | undefined {
    if (!this.#options.spread.enabled) return undefined;
    let audience = 0;
    for (const { namespace, ownChannel } of this.#hubs) {
      if (channel === undefined || ownChannel === channel) audience += namespace.sockets.size;
      else if (ownChannel === undefined) audience += namespace.adapter.rooms.get(channelRoom(channel))?.size ?? 0;
    }
    return this.#options.spread.ms(Math.max(audience, 1));
  }

  entry(entry: LogEntry): void {
    const position = parseId(entry.id)!;
    const found = this.#hubs.map(({ namespace, ownChannel }) => targets(namespace, ownChannel, entry));
    const audience = found.reduce((sum, { length }) => sum + length, 0);
    if (audience === 0) return;
    if (isGap(entry)) this.#options.meter.count("gapsTold", audience, { cause: "feed" });
    const spreadMs = isGap(entry) || entry.scope !== undefined ? this.#options.spread.ms(audience) : undefined;
    for (const hears of found)
      this.#deliveries.push({
        position,
        follows: true,
        targets: hears,
        encode: (style) => entryFrame(style, entry, { spreadMs }),
      });
  }

  gap(position: Position, cause: string): void {
    if (cause === "epoch") this.#options.sessions.renew();
    const id = formatId(position);
    const found = this.#hubs.map(({ namespace, ownChannel }) =>
      targets(namespace, ownChannel, { gap: {}, id, timestampMs: 0 }),
    );
    const audience = found.reduce((sum, { length }) => sum + length, 0);
    this.#options.meter.count("gapsTold", audience, { cause });
    const spreadMs = this.#options.spread.ms(audience);
    for (const hears of found)
      this.#deliveries.push({
        position,
        follows: false,
        targets: hears,
        encode: (style) => gapFrame(style, undefined, id, spreadMs),
      });
  }

  #engines(): EngineConnection[] {
    return Object.values(
      (this.#options.io.engine as unknown as { clients: Record<string, EngineConnection> } | undefined)?.clients ?? {},
    );
  }

  #hub(name: string, ownChannel: string | undefined): Hub {
    const namespace = this.#options.io.of(name);
    const hub: Hub = {
      namespace,
      ownChannel,
      styles: {
        args: { namespace: name, ownChannel, ids: "args" },
        event: { namespace: name, ownChannel, ids: "event" },
      },
    };
    namespace.use((socket, next) => {
      // Asked for again before the first was answered: one answer is all that its client waits for.
      if (!transportOf(socket.conn).claim(name)) return void forgetSocket(socket);
      this.#authenticate(socket, hub).then(
        () => next(),
        (error: unknown) => this.#refuse(socket, error, next),
      );
    });
    namespace.on("connection", (socket) => this.#connected(socket));
    return hub;
  }

  async #authenticate(socket: Socket, hub: Hub): Promise<void> {
    const { authenticator, policy } = this.#options;
    const { auth, headers } = socket.handshake;
    const transport = transportOf(socket.conn);
    try {
      const principal = await authenticator.authenticate({ auth, headers });
      if (!policy.mayEnter(principal, hub.namespace.name)) throw new CarillonError("FORBIDDEN");
      await this.#options.admit?.(principal, socket.conn);
      const style = hub.styles[auth.ids === "event" ? "event" : "args"];
      const connection = new Connection({ socket, principal, style, transport });
      socket.data.connection = connection;
      renameSocket(socket);
      const stopWatching = transport.onClose(() => this.#disconnected(connection));
      socket.on("disconnect", () => {
        stopWatching();
        this.#disconnected(connection);
      });
      await this.#arrive(connection, auth);
    } catch (error) {
      transport.unclaim(hub.namespace.name);
      throw error;
    }
  }

  /** A refusal within the protocol is final for stock clients; from a closed transport they come back. So what a retry helps is the latter. */
  #refuse(socket: Socket, error: unknown, next: (error: Error) => void): void {
    const { meter, logger } = this.#options;
    const known = error instanceof CarillonError ? error : new CarillonError("INTERNAL");
    if (known !== error) logger.error({ err: error }, "a handshake failed");
    meter.count("handshakes", 1, { outcome: known.code });
    // A user's own limit stays as it is while its other connections do.
    if (known.kind.retryable && known.code !== "TOO_MANY_CONNECTIONS") transportOf(socket.conn).close();
    next(Object.assign(new Error(known.message), { data: { code: known.code } }));
  }

  /**
   * What its client had, under the session id that Socket.IO sends when this is done. Once it has that id it comes back with it,
   * however soon it is cut off; so the record is there first, and says what is still to be told.
   */
  async #arrive(connection: Connection, auth: Readonly<Record<string, unknown>>): Promise<void> {
    const { sessions } = this.#options;
    const asked = startingPoint(auth);
    if (asked.kind === "fresh") return sessions.keep(connection);
    const record = await sessions.restore(connection, auth.pid);
    const lost = record === undefined ? [] : await this.#restore(connection, record);
    const from = provenStart(asked, auth.pid, record);
    const cut = record === undefined || asked.kind !== "offset" ? [] : [...cutReplays(record, asked.position), ...lost];
    connection.arrival = { from, cut, resumes: true };
    if (from.kind === "unknown" && from.cause === "unknown_session") connection.floor = this.#beyond();
    await this.#untilSaved(connection, () =>
      record === undefined
        ? sessions.save(connection)
        : sessions.inherit(connection, { ...record, ...floorOf(connection) }),
    );
  }

  #connected(socket: Socket): void {
    const { requests, meter } = this.#options;
    const connection = socket.data.connection as Connection;
    socket.onAny((event: unknown, ...args: unknown[]) => requests.handle(connection, event, args));
    meter.count("handshakes", 1, { outcome: "connected" });
    connection.whole = this.#welcome(connection).catch((error: unknown) => this.#giveUp(connection, error));
  }

  async #welcome(connection: Connection): Promise<void> {
    const { sessions, catchUp, meter } = this.#options;
    const { from, cut, resumes } = connection.arrival;
    const recovered = await catchUp.run(connection, from, (repaired) => {
      const { position } = connection;
      const id = formatId(position);
      const whole = repaired && cut.length === 0;
      if (connection.floor !== undefined) connection.floor = position;
      if (repaired && cut.length > 0) {
        connection.write(gapFrame(connection.style, cut, id, this.spreadMs(connection)), position);
        for (const channel of cut) connection.replays.set(channel, { at: position, mark: connection.transport.mark });
        meter.count("gapsTold", 1, { cause: "replay" });
      }
      for (const [channel, subscription] of connection.channels)
        subscription.recovered = repaired && !cut.includes(channel);
      this.#enter(connection);
      connection.write(eventFrame(connection.style, EVENT.ready, this.#readyArgument(connection, whole), id), position);
      if (resumes) sessions.keep(connection);
    });
    if (!resumes) return;
    const outcome = recovered === undefined ? "closed" : recovered && cut.length === 0 ? "whole" : "gap";
    meter.count("resumes", 1, { outcome });
  }

  /** Rooms and subscriptions as they were. Resolves with the channels that can't be had any more. */
  async #restore(connection: Connection, record: KeptRecord): Promise<string[]> {
    const { interest, policy, logger } = this.#options;
    const lost: string[] = [];
    await Promise.all(
      record.channels.map(async (channel) => {
        try {
          const release = await interest.acquire(channel);
          // A renewed token took it away meanwhile.
          if (!policy.mayHear(connection.principal, channel)) release();
          else connection.channels.set(channel, { release, active: true, recovered: false });
        } catch (error) {
          if (!(error instanceof CarillonError)) logger.error({ err: error }, "a subscription could not be restored");
          lost.push(channel);
        }
      }),
    );
    for (const [channel, room] of record.rooms)
      if (policy.mayJoin(connection.principal, channel, room)) connection.addRoom(channel, room);
    if (connection.state === "closed") this.#letGo(connection);
    return lost;
  }

  /** A client that came back must be able to come back again, so this waits for the store as the client does. */
  async #untilSaved(connection: Connection, save: () => Promise<void>): Promise<void> {
    while (connection.state !== "closed") {
      try {
        return await save();
      } catch {
        await new Promise((resolve) => setTimeout(resolve, SAVE_RETRY_MS));
      }
    }
  }

  /** Above every position that the log has now. */
  #beyond(): Position {
    return { epoch: this.#options.sequencer.position?.epoch ?? 0, n: BEYOND };
  }

  /** Into every room that publications go to. Synchronous with in-memory rooms, which ours are. */
  #enter(connection: Connection): void {
    const rooms = [EVERYBODY, ...identityRooms(connection.principal)];
    for (const [channel, { active }] of connection.channels) if (active) rooms.push(channelRoom(channel));
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
    connection.whole = this.#comeBack(connection).catch((error: unknown) => this.#giveUp(connection, error));
  }

  async #comeBack(connection: Connection): Promise<void> {
    const { laggards, catchUp } = this.#options;
    await laggards.drained(connection);
    await catchUp.run(connection, { kind: "offset", position: connection.position }, () => {
      this.#behind.delete(connection);
      this.#enter(connection);
    });
  }

  #giveUp(connection: Connection, error: unknown): void {
    if (!(error instanceof CarillonError))
      this.#options.logger.error({ err: error }, "a connection could not be made whole");
    connection.transport.terminate();
  }

  #disconnected(connection: Connection): void {
    if (connection.state === "closed") return;
    this.#options.sessions.forget(connection);
    connection.state = "closed";
    connection.transport.unclaim(connection.style.namespace);
    this.#behind.delete(connection);
    this.#letGo(connection);
  }

  /** The channels themselves stay: a record that is still to be saved must have them. */
  #letGo(connection: Connection): void {
    for (const { release } of connection.channels.values()) release();
  }
}

/**
 * Where to go on from. A session id that nobody knows is one that expired, was forged or belongs to another user: its rooms are
 * lost, and what was for them can't be told, whatever the offset says.
 */
function provenStart(asked: StartingPoint, pid: unknown, record: KeptRecord | undefined): StartingPoint {
  if (asked.kind !== "offset" || pid === undefined || pid === null) return asked;
  if (record === undefined || isBelowFloor(record, asked.position))
    return { kind: "unknown", cause: "unknown_session" };
  return { kind: "offset", position: provenPosition(record, asked.position) };
}

function floorOf({ floor }: Connection): Pick<KeptRecord, "floor"> {
  return floor === undefined ? {} : { floor: formatId(floor) };
}

/** Before anybody knows it by its first id. */
function renameSocket(socket: Socket): void {
  const known = forgetSocket(socket);
  (socket as { id: string }).id = socketId(socket.id);
  if (known) connecting(socket).set(socket.id, socket);
}

/** Takes it out of those that wait to be let in. */
function forgetSocket(socket: Socket): boolean {
  return connecting(socket).delete(socket.id);
}

function connecting({ nsp }: Socket): Map<string, Socket> {
  return (nsp as unknown as { readonly _preConnectSockets: Map<string, Socket> })._preConnectSockets;
}
