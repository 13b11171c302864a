/**
 * Lets clients in and makes them whole: who is it, what did it have before, what did it miss, then `ready`; and lets go of them
 * when they leave.
 */
import type { Interest, Logger, Meter, Sequencer, SessionRecord } from "@carillon/core";
import { CarillonError, formatId, type Position, parseId, parsePrincipalId } from "@carillon/protocol";
import type { Socket } from "socket.io";
import type { RevocationCheck } from "../auth/authenticator.ts";
import type { Authenticator, Policy, Principal } from "../auth/principal.ts";
import type { Attendance } from "./attendance.ts";
import { type CatchUp, startingPoint } from "./catch-up.ts";
import { BEYOND, Connection, type StartingPoint } from "./connection.ts";
import { gapFrame, readyFrame } from "./frames.ts";
import { forgetHandshake } from "./handshakes.ts";
import type { SocketIoHub } from "./hubs.ts";
import { enterAllRooms } from "./membership.ts";
import type { Requests } from "./requests.ts";
import { identityRooms, socketId } from "./rooms.ts";
import { cutReplays, isBelowFloor, provenPosition, type SessionKeeper } from "./session-keeper.ts";
import { transportOf } from "./socket-io-transport.ts";
import type { Transport } from "./transport.ts";

export interface ArrivalsOptions {
  /** Opaque name of this node, as clients see it. */
  readonly node: string;
  readonly authenticator: Authenticator;
  readonly policy: Policy;
  readonly revocations: Pick<RevocationCheck, "isRevoked">;
  readonly sequencer: Pick<Sequencer, "position">;
  readonly catchUp: Pick<CatchUp, "run">;
  readonly requests: Pick<Requests, "handle">;
  readonly sessions: Pick<SessionKeeper, "keep" | "save" | "inherit" | "restore" | "replace" | "forget">;
  readonly interest: Pick<Interest, "acquire">;
  /** Counts a transport of a user. Throws `TOO_MANY_CONNECTIONS`. */
  readonly admit?: (principal: Principal, transport: Transport) => Promise<void>;
  /** For a refresh of everything there that one connection is told. */
  readonly spreadMs: (connection: Connection) => number | undefined;
  readonly onClosed: (connection: Connection) => void;
  readonly attendance: Pick<Attendance, "arrived" | "left">;
  readonly meter: Meter;
  readonly logger: Logger;
}

const SAVE_RETRY_MS = 500;

export class Arrivals {
  readonly #options: ArrivalsOptions;

  constructor(options: ArrivalsOptions) {
    this.#options = options;
  }

  /** From now on whoever connects to this Socket.IO namespace. */
  welcomeTo(hub: SocketIoHub): void {
    const { namespace } = hub;
    namespace.use((socket, next) => {
      // Asked for again before the first was answered: one answer is all that its client waits for.
      if (!transportOf(socket.conn).claim(namespace.name)) return void forgetSocket(socket);
      this.#authenticate(socket, hub).then(
        () => next(),
        (error: unknown) => this.#refuse(socket, error, next),
      );
    });
    const { requests } = this.#options;
    // One for all: Socket.IO calls it as the socket's.
    function handle(this: Socket, event: unknown, ...args: unknown[]) {
      requests.handle(this.data.connection, event, args);
    }
    namespace.on("connection", (socket) => {
      forgetHandshake(socket);
      socket.onAny(handle);
      this.welcome(socket.data.connection);
    });
  }

  /** Why a handshake failed, for its client; counted. */
  refusal(error: unknown): CarillonError {
    const { meter, logger } = this.#options;
    const known = error instanceof CarillonError ? error : new CarillonError("INTERNAL");
    if (known !== error) logger.error({ err: error }, "a handshake failed");
    meter.count("handshakes", 1, { outcome: known.code });
    return known;
  }

  /** A connection could not be made whole: its client comes back and is told. */
  giveUp(connection: Connection, error: unknown): void {
    if (!(error instanceof CarillonError))
      this.#options.logger.error({ err: error }, "a connection could not be made whole");
    connection.transport.terminate();
  }

  async #authenticate(socket: Socket, hub: SocketIoHub): Promise<void> {
    const { authenticator, policy } = this.#options;
    const { auth, headers } = socket.handshake;
    const transport = transportOf(socket.conn);
    try {
      const principal = await authenticator.authenticate({ auth, headers });
      if (!policy.mayEnter(principal, hub.namespace.name)) throw new CarillonError("FORBIDDEN");
      const installationId = auth.installationId == null ? undefined : parsePrincipalId(auth.installationId);
      await this.#options.admit?.(principal, transport);
      const style = hub.styles[auth.ids === "event" ? "event" : "args"];
      const connection = new Connection({ socket, principal, style, transport, installationId });
      socket.data.connection = connection;
      renameSocket(socket);
      const stopWatching = transport.onClose(() => this.leave(connection));
      socket.on("disconnect", () => {
        stopWatching();
        this.leave(connection);
      });
      await this.arrive(connection, auth);
    } catch (error) {
      transport.unclaim(hub.namespace.name);
      throw error;
    }
  }

  /** A refusal within the protocol is final for stock clients; from a closed transport they come back. So what a retry helps is the latter. */
  #refuse(socket: Socket, error: unknown, next: (error: Error) => void): void {
    const known = this.refusal(error);
    // A user's own limit stays as it is while its other connections do.
    if (known.kind.retryable && known.code !== "TOO_MANY_CONNECTIONS") transportOf(socket.conn).close();
    next(Object.assign(new Error(known.message), { data: { code: known.code } }));
  }

  /**
   * What its client had, under the session id that it is sent when this is done. Once it has that id it comes back with it,
   * however soon it is cut off; so the record is there first, and says what is still to be told.
   */
  async arrive(connection: Connection, auth: Readonly<Record<string, unknown>>): Promise<void> {
    const { sessions } = this.#options;
    const asked = startingPoint(auth);
    if (asked.kind === "fresh") return sessions.keep(connection);
    const found = await sessions.restore(connection, auth.pid);
    const from = provenStart(asked, auth.pid, found);
    const cut = found === undefined || asked.kind !== "offset" ? [] : cutReplays(found, asked.position);
    const record = found && withoutStarts(found, from.kind === "offset" ? cut : found.channels);
    if (record !== undefined) {
      // Told so, and cut off before it has its new session id, it comes back with the old one and an id that looks like proof.
      if (record.starts?.length !== found?.starts?.length)
        await this.#untilSaved(connection, () => sessions.replace(auth.pid as string, record));
      cut.push(...(await this.#restore(connection, record)));
    }
    connection.arrival = { from, cut, resumes: true };
    if (from.kind === "unknown" && from.cause === "unknown_session") connection.floor = this.#beyond();
    // Of one that has no session nobody knows its rooms and subscriptions yet. It comes to them again, in good faith.
    else if (from.kind === "offset" && record === undefined) connection.floor = from.position;
    // Its session was lost before, and it heard nothing since it was told: it may have been cut off before it came to its rooms again.
    else if (asked.kind === "offset" && record?.floor === formatId(asked.position)) connection.floor = asked.position;
    await this.#untilSaved(connection, () =>
      record === undefined
        ? sessions.save(connection)
        : sessions.inherit(connection, { ...record, ...floorOf(connection) }),
    );
  }

  /** Rooms and subscriptions as they were. Resolves with the channels that can't be had any more. */
  async #restore(connection: Connection, record: SessionRecord): Promise<string[]> {
    const { interest, policy, logger } = this.#options;
    const lost: string[] = [];
    const starts = new Map(record.starts);
    await Promise.all(
      record.channels.map(async (channel) => {
        try {
          const release = await interest.acquire(channel);
          const from = parseId(starts.get(channel));
          const replay = from === undefined ? {} : { from, replayed: true };
          // A renewed token took it away meanwhile.
          if (!policy.mayHear(connection.principal, channel)) release();
          else connection.channels.set(channel, { release, active: true, recovered: false, ...replay });
        } catch (error) {
          if (!(error instanceof CarillonError)) logger.error({ err: error }, "a subscription could not be restored");
          lost.push(channel);
        }
      }),
    );
    for (const [channel, room] of record.rooms)
      if (policy.mayJoin(connection.principal, channel, room)) connection.addRoom(channel, room);
    if (connection.state === "closed") releaseChannels(connection);
    return lost;
  }

  /** A client that came back must be able to come back again, so this waits for the store as the client does. */
  async #untilSaved(connection: Connection, save: () => Promise<void>): Promise<void> {
    while (connection.state !== "closed") {
      try {
        return await save();
      } catch (error) {
        this.#options.logger.debug({ err: error }, "saving a session record failed, trying again");
        await new Promise((resolve) => setTimeout(resolve, SAVE_RETRY_MS));
      }
    }
  }

  /** Above every position that the log has now. */
  #beyond(): Position {
    return { epoch: this.#options.sequencer.position?.epoch ?? 0, n: BEYOND };
  }

  /** It is among the connections of its hub now: what it missed, its rooms, `ready`. */
  welcome(connection: Connection): void {
    const { revocations, meter } = this.#options;
    const { principal, transport } = connection;
    // Logged out while it was let in: whoever looked for its connections did not find this one yet.
    if (principal.kind === "user" && revocations.isRevoked(principal)) {
      meter.count("handshakes", 1, { outcome: "REVOKED" });
      transport.close("REVOKED");
      return;
    }
    meter.count("handshakes", 1, { outcome: "connected" });
    this.#options.attendance.arrived(connection);
    connection.whole = this.#makeWhole(connection).catch((error: unknown) => this.giveUp(connection, error));
  }

  /** It has closed. */
  leave(connection: Connection): void {
    if (connection.state === "closed") return;
    this.#options.sessions.forget(connection);
    connection.state = "closed";
    this.#options.attendance.left(connection);
    connection.transport.unclaim(connection.style.namespace);
    this.#options.onClosed(connection);
    releaseChannels(connection);
  }

  async #makeWhole(connection: Connection): Promise<void> {
    const { sessions, catchUp, meter } = this.#options;
    const { from, cut, resumes } = connection.arrival;
    // Ahead of all that was missed, with which its client would come back as one that has what was cut.
    if (from.kind === "offset" && cut.length > 0) this.#tellOfCut(connection, cut, from.position);
    const recovered = await catchUp.run(connection, from, (repaired) => {
      const { position } = connection;
      const id = formatId(position);
      const whole = repaired && cut.length === 0;
      if (connection.floor !== undefined && !(repaired && from.kind === "offset")) connection.floor = position;
      for (const [channel, subscription] of connection.channels)
        subscription.recovered = repaired && !cut.includes(channel);
      enterAllRooms(connection);
      connection.write(readyFrame(connection.style, this.#readyArgument(connection, whole), id), position);
      if (resumes) sessions.keep(connection);
    });
    if (!resumes) return;
    const outcome = recovered === undefined ? "closed" : recovered && cut.length === 0 ? "whole" : "gap";
    meter.count("resumes", 1, { outcome });
  }

  #tellOfCut(connection: Connection, channels: readonly string[], at: Position): void {
    const { spreadMs, meter } = this.#options;
    connection.write(gapFrame(connection.style, channels, formatId(at), spreadMs(connection)), at);
    for (const channel of channels) connection.addReplay(channel, { at, mark: connection.transport.mark });
    meter.count("gapsTold", 1, { cause: "replay" });
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
      ...connection.greeting,
    });
  }
}

/** The channels themselves stay: a record that is still to be saved must have them. */
function releaseChannels({ channels }: Connection): void {
  for (const { release } of channels.values()) release();
}

/**
 * Where to go on from. A session id that nobody knows is one that expired, was forged or belongs to another user: its rooms are
 * lost, and what was for them can't be told, whatever the offset says.
 */
function provenStart(asked: StartingPoint, pid: unknown, record: SessionRecord | undefined): StartingPoint {
  if (asked.kind !== "offset" || pid === undefined || pid === null) return asked;
  if (record === undefined || isBelowFloor(record, asked.position))
    return { kind: "unknown", cause: "unknown_session" };
  return { kind: "offset", position: provenPosition(record, asked.position) };
}

/** Where a replay was cut, and is told as a gap, the client does not have what was in it. */
function withoutStarts({ starts, ...record }: SessionRecord, channels: readonly string[]): SessionRecord {
  const left = starts?.filter(([channel]) => !channels.includes(channel)) ?? [];
  return left.length === 0 ? record : { ...record, starts: left };
}

function floorOf({ floor }: Connection): Pick<SessionRecord, "floor"> {
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
