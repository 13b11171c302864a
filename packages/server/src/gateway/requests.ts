/**
 * What clients ask for by events, each with an optional ack. One table holds them all; whatever else arrives is answered with a
 * documented error where an ack was asked for, and counted.
 */
import type { Interest, Logger, Meter, Publish } from "@carillon/core";
import { CarillonError, type Draft, formatId, isPlainObject, parseChannel, parseEntityRoom, parseId, REQUEST, stringifyJson } from "@carillon/protocol";
import type { Policy } from "../auth/principal.ts";
import type { Connection } from "./connection.ts";
import type { Replay } from "./replay.ts";
import { channelRoom, entityRoom, looksLikeSocketId } from "./rooms.ts";
import type { SessionKeeper } from "./session-keeper.ts";

export interface RequestsOptions {
  readonly namespaces: ReadonlySet<string>;
  readonly policy: Policy;
  readonly interest: Pick<Interest, "acquire">;
  readonly sessions: Pick<SessionKeeper, "save">;
  readonly replay: Replay;
  readonly publisher: Pick<Publish, "publish">;
  readonly publishing: boolean;
  readonly limits: { readonly subscriptions: number; readonly rooms: number };
  readonly meter: Meter;
  readonly logger: Logger;
}

type Body = Readonly<Record<string, unknown>>;
type Handler = (connection: Connection, body: Body, ack: AckFunction) => Promise<Body | undefined>;
type AckFunction = (answer: object) => void;

export class Requests {
  readonly #options: RequestsOptions;
  readonly #handlers: ReadonlyMap<string, Handler>;
  /** What one connection asks for runs in its order. */
  readonly #last = new WeakMap<Connection, Promise<void>>();

  constructor(options: RequestsOptions) {
    this.#options = options;
    this.#handlers = new Map<string, Handler>([
      [REQUEST.join, (connection, body) => this.#join(connection, body)],
      [REQUEST.leave, (connection, body) => this.#leave(connection, body)],
      [REQUEST.subscribe, (connection, body, ack) => this.#subscribe(connection, body, ack)],
      [REQUEST.unsubscribe, (connection, body) => this.#unsubscribe(connection, body)],
      [REQUEST.publish, (connection, body) => this.#publish(connection, body)],
    ]);
  }

  /** Never throws and never rejects, whatever the client sent. */
  handle(connection: Connection, event: unknown, args: readonly unknown[]): void {
    const ack = args.findLast((argument): argument is AckFunction => typeof argument === "function");
    const before = this.#last.get(connection) ?? Promise.resolve();
    const done = before.then(() => this.#answer(connection, event, args[0], ack ?? (() => {})));
    this.#last.set(connection, done);
  }

  async #answer(connection: Connection, event: unknown, body: unknown, ack: AckFunction): Promise<void> {
    try {
      await connection.whole;
      if (connection.state === "closed") return;
      const handler = typeof event === "string" ? this.#handlers.get(event) : undefined;
      if (handler === undefined) throw new CarillonError("UNKNOWN_EVENT");
      if (!isPlainObject(body)) throw new CarillonError("INVALID_REQUEST", "the first argument is an object");
      const answer = await handler(connection, body, ack);
      if (answer !== undefined) ack({ ok: true, ...answer });
    } catch (error) {
      this.#refuse(error, ack);
    }
  }

  #refuse(error: unknown, ack: AckFunction): void {
    const { meter, logger } = this.#options;
    const known = error instanceof CarillonError ? error : new CarillonError("INTERNAL");
    if (known !== error) logger.error({ err: error }, "a client's request failed");
    meter.count("drops", 1, { reason: known.code });
    const { code, message, retryAfterS } = known;
    ack({ ok: false, error: { code, message, ...(retryAfterS !== undefined && { retryAfterS }) } });
  }

  async #join(connection: Connection, body: Body): Promise<Body> {
    const { channel, room, answer } = this.#room(connection, body);
    if (looksLikeSocketId(room)) throw new CarillonError("FORBIDDEN", "rooms of sockets cannot be joined");
    if (!this.#options.policy.mayJoin(connection.principal, channel, room)) throw new CarillonError("FORBIDDEN");
    if (connection.isIn(channel, room)) return answer;
    if (connection.roomCount >= this.#options.limits.rooms) throw new CarillonError("TOO_MANY_ROOMS", `at most ${this.#options.limits.rooms} rooms`);
    const rooms = connection.rooms.get(channel) ?? new Set();
    connection.rooms.set(channel, rooms.add(room));
    await this.#saveOr(connection, () => forgetRoom(connection, channel, room));
    enterRoom(connection, channel, room);
    return answer;
  }

  async #leave(connection: Connection, body: Body): Promise<Body> {
    const { channel, room, answer } = this.#room(connection, body);
    if (!connection.isIn(channel, room)) return answer;
    forgetRoom(connection, channel, room);
    await connection.socket.leave(adapterRoom(connection, channel, room));
    await this.#options.sessions.save(connection);
    return answer;
  }

  async #subscribe(connection: Connection, body: Body, ack: AckFunction): Promise<Body | undefined> {
    const channel = this.#channel(connection, body);
    const { policy, limits, interest, replay } = this.#options;
    if (!policy.mayHear(connection.principal, channel)) throw new CarillonError("FORBIDDEN");
    if (connection.channels.has(channel)) return { channel, id: formatId(connection.position), recovered: true };
    if (connection.channels.size >= limits.subscriptions) {
      throw new CarillonError("TOO_MANY_SUBSCRIPTIONS", `at most ${limits.subscriptions} channels on one connection`);
    }
    const release = await interest.acquire(channel);
    if (connection.state === "closed") {
      release();
      return undefined;
    }
    connection.channels.set(channel, release);
    const drop = () => {
      connection.channels.delete(channel);
      connection.replays.delete(channel);
      release();
    };
    const since = body.since === undefined || body.since === null ? undefined : { id: body.since, position: parseId(body.since) };
    if (since !== undefined) connection.replays.set(channel, replay.position);
    await this.#saveOr(connection, drop);
    await replay.run(connection, channel, since, ack, () => connection.socket.join(channelRoom(channel)));
    return undefined;
  }

  async #unsubscribe(connection: Connection, body: Body): Promise<Body> {
    const channel = this.#channel(connection, body);
    const release = connection.channels.get(channel);
    if (release === undefined) return { channel };
    connection.channels.delete(channel);
    connection.replays.delete(channel);
    await connection.socket.leave(channelRoom(channel));
    release();
    await this.#options.sessions.save(connection);
    return { channel };
  }

  async #publish(connection: Connection, body: Body): Promise<Body> {
    const channel = this.#channel(connection, body);
    const { policy, publisher, publishing } = this.#options;
    if (!publishing || !policy.mayPublish(connection.principal, channel)) throw new CarillonError("FORBIDDEN", "publishing is not allowed here");
    if (body.payload === undefined) throw new CarillonError("INVALID_REQUEST", "payload is missing");
    const { user } = connection.principal;
    const draft: Draft = { channel, payload: stringifyJson(body.payload), ...(user !== undefined && { from: user }) };
    return { id: await publisher.publish(draft, { ingress: "clients" }) };
  }

  #channel(connection: Connection, body: Body): string {
    if (connection.style.ownChannel !== undefined) throw new CarillonError("UNKNOWN_EVENT", "channels are subscribed to on /channels");
    return parseChannel(body.channel, this.#options.namespaces);
  }

  #room(connection: Connection, body: Body): { channel: string; room: string; answer: Body } {
    const room = parseEntityRoom(body.room);
    const { ownChannel } = connection.style;
    if (ownChannel !== undefined) return { channel: ownChannel, room, answer: { room } };
    const channel = parseChannel(body.channel, this.#options.namespaces);
    return { channel, room, answer: { channel, room } };
  }

  /** The record is in the store before the client hears of it; otherwise nothing of it holds. */
  async #saveOr(connection: Connection, undo: () => void): Promise<void> {
    try {
      await this.#options.sessions.save(connection);
    } catch (error) {
      undo();
      throw error;
    }
  }
}

/** Lets publications for the room reach a connection that is live. */
export function enterRoom(connection: Connection, channel: string, room: string): void {
  void connection.socket.join(adapterRoom(connection, channel, room));
}

function adapterRoom(connection: Connection, channel: string, room: string): string {
  return connection.style.ownChannel === undefined ? entityRoom(channel, room) : room;
}

function forgetRoom(connection: Connection, channel: string, room: string): void {
  const rooms = connection.rooms.get(channel);
  rooms?.delete(room);
  if (rooms?.size === 0) connection.rooms.delete(channel);
}
