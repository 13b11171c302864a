/**
 * This node's one connection to Postgres for reading: LISTEN, the lease, and, while that is held, the outbox. It comes back by itself for
 * as long as the bridge is started.
 */
import { setTimeout as sleep } from "node:timers/promises";
import type { Feed, Lease } from "@carillon/core";
import { Connection, type Query } from "./connection.ts";
import { AdvisoryLease } from "./lease.ts";
import { HINT_CHANNEL, NotifyFeed } from "./notify-feed.ts";
import { NotifyQueue } from "./notify-queue.ts";
import { OutboxReader, type ReaderOptions } from "./reader.ts";

export interface BridgeOptions extends ReaderOptions {
  /** `DATABASE_LISTEN_URL`, else `DATABASE_URL`: not through a transaction pooler. */
  readonly connectionString: string;
  /** For tests only: every bridge reads, at once. */
  readonly everybodyHoldsTheLease?: boolean;
}

export interface BridgeState {
  readonly connected: boolean;
  readonly holdsLease: boolean;
  readonly listening: number;
  /** Why there is no connection, or why the outbox isn't read. */
  readonly problem: string | undefined;
}

const HEARTBEAT_MS = 2_000;
const RETRY_MIN_MS = 100;
const RETRY_MAX_MS = 2_000;
/** What held for so long was sound: the next retry is quick again. */
const STEADY_MS = 10_000;

export class PostgresBridge {
  readonly #options: BridgeOptions;
  readonly #lease: AdvisoryLease;
  readonly #feed: NotifyFeed;
  readonly #queue: NotifyQueue;
  #stopping: AbortController | undefined;
  #running: Promise<void> = Promise.resolve();
  #connection: Connection | undefined;
  #reader: OutboxReader | undefined;
  #hintListened = 0;
  #problem: string | undefined;

  constructor(options: BridgeOptions) {
    this.#options = options;
    const { meter, logger } = options;
    this.#lease = new AdvisoryLease({ meter, logger, everybodyHolds: options.everybodyHoldsTheLease ?? false });
    this.#feed = new NotifyFeed({ meter, logger });
    this.#queue = new NotifyQueue({ meter, logger });
  }

  get lease(): Lease {
    return this.#lease;
  }

  get feed(): Feed {
    return this.#feed;
  }

  get state(): BridgeState {
    return {
      connected: this.#connection !== undefined,
      holdsLease: this.#lease.held,
      listening: this.#feed.channels.size,
      problem: this.#problem,
    };
  }

  /** Exactly these, byte for byte. Resolves when LISTEN holds on them, or when the connection is away and will see to it. */
  setListenChannels(channels: Iterable<string>): Promise<void> {
    return this.#feed.setChannels(channels);
  }

  /** Returns at once; `state` tells how it goes. */
  start(): void {
    if (this.#stopping !== undefined) return;
    this.#stopping = new AbortController();
    this.#running = this.#run(this.#stopping.signal);
  }

  /** Gives the lease back. Resolves when nothing of it runs any more. */
  async stop(): Promise<void> {
    this.#stopping?.abort();
    await this.#running;
    this.#stopping = undefined;
  }

  async #run(stop: AbortSignal): Promise<void> {
    let retryMs = RETRY_MIN_MS;
    while (!stop.aborted) {
      const since = performance.now();
      try {
        await this.#session(stop);
      } catch (error) {
        this.#lost(error);
      }
      if (stop.aborted) return;
      if (performance.now() - since > STEADY_MS) retryMs = RETRY_MIN_MS;
      await sleep(retryMs * (0.5 + Math.random()), undefined, { signal: stop }).catch(() => {});
      retryMs = Math.min(retryMs * 2, RETRY_MAX_MS);
    }
  }

  /** One connection, from its beginning to its end. Rejects unless `stop` ended it. */
  async #session(stop: AbortSignal): Promise<void> {
    const over = new AbortController();
    const connection = await Connection.open({
      connectionString: this.#options.connectionString,
      applicationName: "carillon-bridge",
      onNotification: (channel, text) => {
        if (channel === HINT_CHANNEL) this.#reader?.hint();
        else this.#feed.notification(channel, text);
      },
      onLost: (reason) => over.abort(new Error(reason)),
    });
    const ended = AbortSignal.any([over.signal, stop]);
    // At once, and not when what is being appended is through: another node may already have the lease.
    const detach = () => {
      this.#connection = undefined;
      this.#options.meter.set("bridgeConnected", 0);
      this.#lease.detach();
      this.#feed.detach();
    };
    over.signal.addEventListener("abort", detach);
    try {
      await this.#feed.attach(connection.query);
      over.signal.throwIfAborted();
      this.#connection = connection;
      this.#problem = undefined;
      this.#options.meter.set("bridgeConnected", 1);
      this.#options.logger.info({}, "the Postgres bridge is connected");
      this.#lease.attach(connection.query);
      const work = [this.#beat(connection.query, ended), this.#readWhileHeld(connection.query, ended)];
      await Promise.all(work.map((part) => part.catch((error) => over.abort(error))));
      over.signal.throwIfAborted();
    } finally {
      over.abort();
      await connection.close();
    }
  }

  /** Keeps Postgres from ending the session as idle, and notices when it no longer is what it should be. */
  async #beat(query: Query, ended: AbortSignal): Promise<void> {
    while (!ended.aborted) {
      await sleep(HEARTBEAT_MS, undefined, { signal: ended }).catch(() => {});
      if (ended.aborted) return;
      const hint = this.#hintListened;
      const sound = await this.#feed.verify(query, hint);
      if (!sound && hint === this.#hintListened) throw new Error("Postgres has lost a LISTEN of this session");
      await this.#queue.check(query);
    }
  }

  async #readWhileHeld(query: Query, ended: AbortSignal): Promise<void> {
    while (!ended.aborted) {
      await this.#leaseIs(true, ended);
      if (ended.aborted) return;
      const given = new AbortController();
      const stop = AbortSignal.any([ended, given.signal]);
      const lost = this.#leaseIs(false, stop).then(() => given.abort());
      try {
        await this.#read(query, stop);
      } finally {
        given.abort();
        await lost;
      }
    }
  }

  /** Until `stop`. An error that isn't the connection's end is logged, and reading begins again from the cursor. */
  async #read(query: Query, stop: AbortSignal): Promise<void> {
    let retryMs = RETRY_MIN_MS;
    while (!stop.aborted) {
      const since = performance.now();
      this.#reader = new OutboxReader(query, this.#options);
      try {
        await query(`listen ${HINT_CHANNEL}`);
        this.#hintListened = 1;
        await this.#reader.run(stop, () => {
          this.#problem = undefined;
        });
      } catch (error) {
        if (stop.aborted) return;
        this.#problem = `the outbox is not read: ${(error as Error).message}`;
        this.#options.logger.error({ err: error }, "reading the outbox failed; beginning again from its cursor");
        if (performance.now() - since > STEADY_MS) retryMs = RETRY_MIN_MS;
        await sleep(retryMs, undefined, { signal: stop }).catch(() => {});
        retryMs = Math.min(retryMs * 2, RETRY_MAX_MS);
      } finally {
        this.#reader = undefined;
        await query(`unlisten ${HINT_CHANNEL}`).catch(() => {}); // gone with the connection
        this.#hintListened = 0;
      }
    }
  }

  #leaseIs(held: boolean, signal: AbortSignal): Promise<void> {
    if (this.#lease.held === held || signal.aborted) return Promise.resolve();
    return new Promise((resolve) => {
      const stop = this.#lease.onBecoming(held, done);
      function done() {
        stop();
        signal.removeEventListener("abort", done);
        resolve();
      }
      signal.addEventListener("abort", done);
    });
  }

  #lost(error: unknown): void {
    const reason = error instanceof Error ? error.message : String(error);
    if (this.#problem !== reason)
      this.#options.logger.warn({ reason }, "the Postgres bridge has no connection; trying for ever");
    this.#problem = reason;
  }
}
