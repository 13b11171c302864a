/**
 * What clients ask for by events, each with an optional ack. One table holds them all; whatever else arrives is answered with a
 * documented error where an ack was asked for, and counted.
 *
 * A request is judged at its arrival and runs in its connection's order, once the connection is whole. How many may wait is bounded.
 */
import type { Interest, Logger, Meter, Publish, Rarely } from "@carillon/core";
import { type Ack as Answer, CarillonError, type Draft, formatId, parseId, REQUEST } from "@carillon/protocol";
import type { Policy, Principal } from "../auth/principal.ts";
import type { MessageRate } from "../limits/message-rate.ts";
import { BEYOND, type Connection } from "./connection.ts";
import { gapFrame } from "./frames.ts";
import { enterRoom, leaveRoom } from "./membership.ts";
import type { Replay } from "./replay.ts";
import { type Body, bodyOf, channelOf, foregroundOf, payloadOf, roomOf, seenOf, tokenOf } from "./request-bodies.ts";
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

export interface RequestsOptions {
  readonly namespaces: ReadonlySet<string>;
  readonly policy: Policy;
  readonly interest: Pick<Interest, "acquire">;
  readonly sessions: Pick<SessionKeeper, "save">;
  readonly replay: Replay;
  readonly publisher: Pick<Publish, "publish">;
  /** Whether clients may publish at all here. */
  readonly publishing: boolean;
  readonly hooks: ClientHooks;
  readonly limits: {
    readonly subscriptions: number;
    readonly rooms: number;
    /** A transport with more unsent bytes is ended when its client asks for more: even answers are held for who doesn't read. */
    readonly unsentBytes: number;
  };
  /** Of messages; absent: as many as they like. */
  readonly rate?: Pick<MessageRate, "take">;
  /** Counts a publication of a user. Throws `RATE_LIMITED`. */
  readonly quota?: (principal: Principal) => Promise<void>;
  readonly meter: Meter;
  readonly logger: Logger;
  /** One line for each code and minute of what is refused. */
  readonly rarely: Pick<Rarely, "say">;
}

export type Ack = (answer: Answer) => void;
/** Resolves with what the ack says beside `ok`; `undefined` when it was sent already. */
type Run = () => Promise<Body | undefined>;
/** Judges a request. Throws `CarillonError`. */
type Prepare = (connection: Connection, body: Body, ack: Ack) => Run;

interface Queue {
  last: Promise<void>;
  waiting: number;
}

/** Beside one for each room and subscription, which a client asks for in one breath when it connects. */
const MAX_OTHERS_WAITING = 100;

export class Requests {
  readonly #options: RequestsOptions;
  readonly #table: ReadonlyMap<string, Prepare>;
  readonly #queues = new WeakMap<Connection, Queue>();

  constructor(options: RequestsOptions) {
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

  /** Never throws and never rejects, whatever the client sent. */
  handle(connection: Connection, event: unknown, args: readonly unknown[]): void {
    const { limits } = this.#options;
    const ack = args.findLast((argument): argument is Ack => typeof argument === "function") ?? (() => {});
    if (!this.#admits(connection, ack)) return;
    const queue = this.#queueOf(connection);
    try {
      if (queue.waiting >= limits.subscriptions + limits.rooms + MAX_OTHERS_WAITING) {
        throw new CarillonError("RATE_LIMITED", "too many requests wait on this connection", { retryAfterS: 1 });
      }
      const prepare = typeof event === "string" ? this.#table.get(event) : undefined;
      if (prepare === undefined) throw new CarillonError("UNKNOWN_EVENT");
      const body = bodyOf(args.filter((argument) => typeof argument !== "function"));
      this.#enqueue(connection, queue, prepare(connection, body, ack), ack, event === REQUEST.publish);
    } catch (error) {
      this.#refuse(error, ack);
    }
  }

  /** Something that needs nothing but an answer. Counts like any other request. */
  ping(connection: Connection, ack: Ack): void {
    if (this.#admits(connection, ack)) ack({ ok: true });
  }

  /** What never became a request. Counts like one. */
  refuse(connection: Connection, error: CarillonError, ack: Ack): void {
    if (this.#admits(connection, ack)) this.#refuse(error, ack);
  }

  /** Whether a client may ask for anything just now; if not it was told so, or its transport ended. */
  #admits(connection: Connection, ack: Ack): boolean {
    const { transport } = connection;
    const { limits, rate, meter } = this.#options;
    // What arrived with it and before its end was noticed.
    if (!transport.isOpen) return false;
    if (transport.unsentBytes > limits.unsentBytes) {
      meter.count("slowClosed");
      transport.terminate();
      return false;
    }
    const taken = rate?.take(connection);
    if (taken === undefined || taken.verdict === "ok") return true;
    if (taken.verdict === "refused") this.#refuse(taken.error, ack);
    else {
      meter.count("abuseClosed");
      transport.close("RATE_LIMITED");
    }
    return false;
  }

  /** Publications only begin in order, which is the order that the log keeps: waiting for each would make a burst take its number of round trips. */
  #enqueue(connection: Connection, queue: Queue, run: Run, ack: Ack, beginsOnly: boolean): void {
    queue.waiting++;
    connection.transport.pendingRequests++;
    queue.last = queue.last.then(async () => {
      await connection.whole;
      const done = this.#answer(connection, run, ack).finally(() => {
        queue.waiting--;
        connection.transport.pendingRequests--;
      });
      if (!beginsOnly) await done;
    });
  }

  async #answer(connection: Connection, run: Run, ack: Ack): Promise<void> {
    if (connection.state === "closed") return;
    try {
      const answer = await run();
      if (answer !== undefined) ack({ ok: true, ...answer });
    } catch (error) {
      this.#refuse(error, ack);
    }
  }

  #queueOf(connection: Connection): Queue {
    let queue = this.#queues.get(connection);
    if (queue === undefined) {
      queue = { last: Promise.resolve(), waiting: 0 };
      this.#queues.set(connection, queue);
    }
    return queue;
  }

  #refuse(error: unknown, ack: Ack): void {
    const { meter, logger, rarely } = this.#options;
    const known = error instanceof CarillonError ? error : new CarillonError("INTERNAL");
    if (known !== error) logger.error({ err: error }, "a client's request failed");
    meter.count("drops", 1, { reason: known.code });
    const { code, message, retryAfterS } = known;
    rarely.say(`client ${code}`, (heldBack) => logger.warn({ code, heldBack }, "a client's request was refused"));
    ack({ ok: false, error: { code, message, ...(retryAfterS !== undefined && { retryAfterS }) } });
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
      const subscription = { release, active: false, recovered: false };
      connection.channels.set(channel, subscription);
      try {
        // Until it is known which id trailed it, the replay counts as cut wherever the client got to.
        if (since !== undefined)
          connection.addReplay(channel, {
            at: { epoch: connection.position.epoch, n: BEYOND },
            mark: Number.POSITIVE_INFINITY,
          });
        if (isOpen(connection)) await this.#options.sessions.save(connection);
        const isHeld = () => connection.channels.get(channel) === subscription;
        const join = ({ recovered }: { readonly recovered: boolean }) => {
          subscription.recovered = recovered;
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
      if (!isOpen(connection)) release();
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

/** Lets publications for the room reach a connection that is live. */
function nothing<T>(value: T, tell: (value: T) => void | Promise<void>): Run {
  return async () => {
    await tell(value);
    return {};
  };
}

function isOpen(connection: Connection): boolean {
  return connection.state !== "closed";
}
