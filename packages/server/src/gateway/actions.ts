/** What clients may ask for, one handler each: judged at its arrival, and run when its turn has come. */
import type { Interest, Logger, Meter, Publish } from "@carillon/core";
import { type Ack as Answer, CarillonError, type Draft, formatId, parseId, REQUEST } from "@carillon/protocol";
import type { Policy, Principal } from "../auth/principal.ts";
import { BEYOND, type Connection, type Subscription } from "./connection.ts";
import { gapFrame } from "./frames.ts";
import { enterRoom, leaveRoom } from "./membership.ts";
import type { Replay, Started } from "./replay.ts";
import { type Body, channelOf, foregroundOf, payloadOf, roomOf, seenOf, tokenOf } from "./request-bodies.ts";
import { channelRoom } from "./rooms.ts";
import type { SessionKeeper } from "./session-keeper.ts";

/** What clients say about themselves, for those who care: presence, push, authentication. Called for a connection that is whole. */
export interface ClientHooks {
  /** Whether somebody looks at this client's screen. */
  state(connection: Connection, foreground: boolean): void;
  /** Events of the notification service that were shown. */
  seen(connection: Connection, eventIds: readonly string[]): void;
  /** Another token for all connections on the transport, of the same user. Throws `CarillonError`. */
  refreshAuth(connection: Connection, token: string): Promise<void>;
}

export interface ActionsOptions {
  readonly namespaces: ReadonlySet<string>;
  readonly policy: Policy;
  readonly interest: Pick<Interest, "acquire">;
  readonly sessions: Pick<SessionKeeper, "save">;
  readonly replay: Replay;
  readonly publisher: Pick<Publish, "publish">;
  /** Whether clients may publish at all here. */
  readonly publishing: boolean;
  readonly hooks: ClientHooks;
  readonly limits: { readonly subscriptions: number; readonly rooms: number };
  /** Counts a publication of a user. Throws `RATE_LIMITED`. */
  readonly quota?: (principal: Principal) => Promise<void>;
  readonly meter: Meter;
  readonly logger: Logger;
}

export type Ack = (answer: Answer) => void;
/** Resolves with what the ack says beside `ok`; `undefined` when it was sent already. */
export type Run = () => Promise<Body | undefined>;
/** Judges a request. Throws `CarillonError`. */
type Prepare = (connection: Connection, body: Body, ack: Ack) => Run;

export class Actions {
  readonly #options: ActionsOptions;
  readonly #table: ReadonlyMap<string, Prepare>;

  constructor(options: ActionsOptions) {
    this.#options = options;
    const { hooks } = options;
    this.#table = new Map<string, Prepare>([
      [REQUEST.join, (connection, body) => this.#join(connection, body)],
      [REQUEST.leave, (connection, body) => this.#leave(connection, body)],
      [REQUEST.subscribe, (connection, body, ack) => this.#subscribe(connection, body, ack)],
      [REQUEST.unsubscribe, (connection, body) => this.#unsubscribe(connection, body)],
      [REQUEST.publish, (connection, body) => this.#publish(connection, body)],
      [
        REQUEST.state,
        (connection, body) =>
          nothing(foregroundOf(body), (foreground) => {
            connection.transport.foreground = foreground;
            hooks.state(connection, foreground);
          }),
      ],
      [REQUEST.seen, (connection, body) => nothing(seenOf(body), (ids) => hooks.seen(connection, ids))],
      [
        REQUEST.authRefresh,
        (connection, body) => nothing(tokenOf(body), (token) => hooks.refreshAuth(connection, token)),
      ],
    ]);
  }

  /** Throws `CarillonError`, `UNKNOWN_EVENT` too. */
  prepare(event: unknown, connection: Connection, body: () => Body, ack: Ack): Run {
    const prepare = typeof event === "string" ? this.#table.get(event) : undefined;
    if (prepare === undefined) throw new CarillonError("UNKNOWN_EVENT");
    return prepare(connection, body(), ack);
  }

  #join(connection: Connection, body: Body): Run {
    const { channel, room, answer } = this.#room(connection, body);
    const { policy, limits } = this.#options;
    return async () => {
      if (!policy.mayJoin(connection.principal, channel, room)) throw new CarillonError("FORBIDDEN");
      if (connection.isIn(channel, room)) return answer;
      if (connection.roomCount >= limits.rooms)
        throw new CarillonError("TOO_MANY_ROOMS", `at most ${limits.rooms} rooms`);
      connection.addRoom(channel, room);
      await this.#saveOr(connection, () => {
        connection.removeRoom(channel, room);
        leaveRoom(connection, channel, room);
      });
      // A renewed token took it away meanwhile.
      if (!connection.isIn(channel, room)) throw new CarillonError("FORBIDDEN");
      enterRoom(connection, channel, room);
      await this.#tellOfLostRoom(connection, channel, room);
      return answer;
    };
  }

  /** It has no session, or lost it, and joins again in good faith; what went to the room since then it did not get. */
  async #tellOfLostRoom(connection: Connection, channel: string, room: string): Promise<void> {
    const { replay, meter } = this.#options;
    const { floor, style } = connection;
    if (floor === undefined || !connection.listensTo(channel)) return;
    if (!(await replay.mayHaveMissed(channel, room, floor))) return;
    const upTo = replay.settled(connection);
    connection.write(gapFrame(style, [channel], formatId(upTo)), upTo);
    meter.count("gapsTold", 1, { cause: "unknown_session" });
  }

  #leave(connection: Connection, body: Body): Run {
    const { channel, room, answer } = this.#room(connection, body);
    return async () => {
      if (!connection.isIn(channel, room)) return answer;
      connection.removeRoom(channel, room);
      await this.#saveOr(connection, () => {
        connection.addRoom(channel, room);
        enterRoom(connection, channel, room);
      });
      leaveRoom(connection, channel, room);
      return answer;
    };
  }

  #subscribe(connection: Connection, body: Body, ack: Ack): Run {
    const channel = this.#channel(connection, body);
    const asked = body.since === undefined || body.since === null ? undefined : { position: parseId(body.since) };
    const { policy, limits, interest, replay } = this.#options;
    return async () => {
      // Its session was lost, so it subscribes again in good faith: since the gap that it was told nothing may be missing.
      const floor = connection.left.has(channel) ? undefined : connection.floor;
      const since = asked ?? (floor === undefined ? undefined : { position: floor });
      if (!policy.mayHear(connection.principal, channel)) throw new CarillonError("FORBIDDEN");
      const before = connection.channels.get(channel);
      if (before !== undefined) return { channel, id: formatId(connection.position), recovered: before.recovered };
      if (connection.channels.size >= limits.subscriptions) {
        throw new CarillonError("TOO_MANY_SUBSCRIPTIONS", `at most ${limits.subscriptions} channels on one connection`);
      }
      const release = await interest.acquire(channel);
      const subscription: Subscription = { release, active: false, recovered: false };
      connection.channels.set(channel, subscription);
      try {
        // Until it is known which id trailed it, the replay counts as cut wherever the client got to.
        if (since !== undefined)
          connection.addReplay(channel, {
            at: { epoch: connection.position.epoch, n: BEYOND },
            mark: Number.POSITIVE_INFINITY,
          });
        if (connection.isOpen) await this.#options.sessions.save(connection);
        const isHeld = () => connection.channels.get(channel) === subscription;
        const join = ({ recovered, from }: Started) => {
          subscription.recovered = recovered;
          subscription.from = from;
          subscription.replayed = since !== undefined;
          subscription.active = true;
          void connection.socket.join(channelRoom(channel));
        };
        const started = await replay.run(connection, channel, since, ack, join, isHeld);
        if (started !== undefined && since !== undefined) this.#replayed(connection, channel, started.trailing);
      } catch (error) {
        connection.channels.delete(channel);
        connection.removeReplay(channel);
        release();
        throw error;
      }
      if (!connection.isOpen) release();
      return undefined;
    };
  }

  /** The record learns which id proves that the replay arrived; until it does, coming back costs a told gap. */
  #replayed(connection: Connection, channel: string, at: { readonly epoch: number; readonly n: number }): void {
    connection.addReplay(channel, { at, mark: connection.transport.mark });
    this.#options.sessions
      .save(connection)
      .catch((error: unknown) => this.#options.logger.debug({ err: error }, "saving a session record failed"));
  }

  #unsubscribe(connection: Connection, body: Body): Run {
    const channel = this.#channel(connection, body);
    return async () => {
      const subscription = connection.channels.get(channel);
      if (subscription === undefined) return { channel };
      await this.#options.sessions.save(connection, channel);
      connection.channels.delete(channel);
      connection.removeReplay(channel);
      await connection.socket.leave(channelRoom(channel));
      subscription.release();
      const { floor, left } = connection;
      if (floor !== undefined && left.size < this.#options.limits.subscriptions) left.add(channel);
      return { channel };
    };
  }

  #publish(connection: Connection, body: Body): Run {
    const channel = this.#channel(connection, body);
    const { policy, publisher, publishing } = this.#options;
    if (!publishing) throw new CarillonError("INGRESS_DISABLED");
    const { user } = connection.principal;
    const draft: Draft = { channel, payload: payloadOf(body), ...(user !== undefined && { from: user }) };
    return async () => {
      if (!policy.mayPublish(connection.principal, channel)) throw new CarillonError("FORBIDDEN");
      await this.#options.quota?.(connection.principal);
      return { id: await publisher.publish(draft, { ingress: "clients" }) };
    };
  }

  #channel(connection: Connection, body: Body): string {
    if (connection.style.ownChannel !== undefined)
      throw new CarillonError("UNKNOWN_EVENT", "channels are subscribed to on /channels");
    return channelOf(body, this.#options.namespaces);
  }

  #room(connection: Connection, body: Body): { channel: string; room: string; answer: Body } {
    const room = roomOf(body);
    const { ownChannel } = connection.style;
    if (ownChannel !== undefined) return { channel: ownChannel, room, answer: { room } };
    const channel = channelOf(body, this.#options.namespaces);
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

function nothing<T>(value: T, tell: (value: T) => void | Promise<void>): Run {
  return async () => {
    await tell(value);
    return {};
  };
}
