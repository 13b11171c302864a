/**
 * What clients ask for by events, each with an optional ack. What is not to be had is answered with a documented error where an ack was
 * asked for, and counted.
 *
 * A request is judged at its arrival and runs in its connection's order, once the connection is whole. How many may wait is bounded.
 */
import { Rarely } from "@carillon/core";
import { CarillonError, REQUEST } from "@carillon/protocol";
import type { MessageRate } from "../limits/message-rate.ts";
import { type Ack, Actions, type ActionsOptions, type Run } from "./actions.ts";
import type { Connection } from "./connection.ts";
import { bodyOf } from "./request-bodies.ts";

export interface RequestsOptions extends ActionsOptions {
  readonly limits: ActionsOptions["limits"] & {
    /** A transport with more unsent bytes is ended when its client asks for more: even answers are held for who doesn't read. */
    readonly unsentBytes: number;
  };
  /** Of messages; absent: as many as they like. */
  readonly rate?: Pick<MessageRate, "take">;
}

interface Queue {
  last: Promise<void>;
  waiting: number;
}

/** Beside one for each room and subscription, which a client asks for in one breath when it connects. */
const MAX_OTHERS_WAITING = 100;
/** For each code of what is refused. */
const WARN_EVERY_MS = 60_000;

export class Requests {
  readonly #options: RequestsOptions;
  readonly #actions: Actions;
  readonly #queues = new WeakMap<Connection, Queue>();
  readonly #rarely = new Rarely(WARN_EVERY_MS);

  constructor(options: RequestsOptions) {
    this.#options = options;
    this.#actions = new Actions(options);
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
      const body = () => bodyOf(args.filter((argument) => typeof argument !== "function"));
      const run = this.#actions.prepare(event, connection, body, ack);
      this.#enqueue(connection, queue, run, ack, event === REQUEST.publish);
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
    const { meter, logger } = this.#options;
    const known = error instanceof CarillonError ? error : new CarillonError("INTERNAL");
    if (known !== error) logger.error({ err: error }, "a client's request failed");
    meter.count("drops", 1, { reason: known.code });
    const { code, message, retryAfterS } = known;
    this.#rarely.say(code, (heldBack) => logger.warn({ code, heldBack }, "a client's request was refused"));
    ack({ ok: false, error: { code, message, ...(retryAfterS !== undefined && { retryAfterS }) } });
  }
}
