import { type Feed, type FeedListener, type Logger, type Mark, type Meter, Rarely } from "@carillon/core";
import pg from "pg";
import type { Query } from "./connection.ts";

export const MARK_CHANNEL = "carillon_mark";
export const HINT_CHANNEL = "carillon_hint";

const OWN = /^carillon_/;
const MAX_NAME_BYTES = 63;
const BATCH = 100;
const RETRY_MS = 500;
/** Anybody may NOTIFY. A mark from further ahead than clocks go wrong would silence all that follow it. */
const MAX_MARK_AHEAD_MS = 86_400_000;

/**
 * Plain NOTIFY as a feed: one connection listens on everything that is wanted, and what comes is handed on byte for byte. LISTEN and
 * UNLISTEN run one after another; channels wanted while the connection is away are listened on when it is back.
 */
export class NotifyFeed implements Feed {
  readonly name = "notify";
  readonly #meter: Meter;
  readonly #logger: Logger;
  readonly #rarely = new Rarely(60_000);
  readonly #listeners: FeedListener[] = [];
  #wanted: ReadonlySet<string> = new Set();
  readonly #open = new Set<string>();
  /** Heard between LISTEN and its answer; handed on after `opened`. */
  readonly #early = new Map<string, string[]>();
  #query: Query | undefined;
  #syncing: Promise<void> | undefined;
  #syncs = 0;

  constructor({ meter, logger }: { meter: Meter; logger: Logger }) {
    this.#meter = meter;
    this.#logger = logger;
  }

  listen(listener: FeedListener): void {
    this.#listeners.push(listener);
  }

  async sendMark({ mark, done }: Mark): Promise<void> {
    if (this.#query === undefined) throw new Error("the bridge's connection is away");
    await this.#query("select pg_notify($1, $2)", [MARK_CHANNEL, JSON.stringify({ mark, done })], { name: "mark" });
  }

  /** Exactly these from now on. Resolves when that holds, or when the connection is away and will see to it. */
  async setChannels(channels: Iterable<string>): Promise<void> {
    const wanted = new Set<string>();
    for (const channel of channels) {
      if (isListenable(channel)) wanted.add(channel);
      else this.#meter.count("drops", 1, { reason: "listen_name" });
    }
    this.#wanted = wanted;
    await this.#sync();
  }

  /** The channels that LISTEN is known to hold on. */
  get channels(): ReadonlySet<string> {
    return this.#open;
  }

  /** Listens to the marks, and to everything that is wanted, on this connection. */
  async attach(query: Query): Promise<void> {
    await query(`listen ${pg.escapeIdentifier(MARK_CHANNEL)}`);
    this.#query = query;
    await this.#sync();
  }

  /** The connection is gone. */
  detach(): void {
    if (this.#query === undefined) return;
    this.#query = undefined;
    this.#open.clear();
    this.#early.clear();
    this.#meter.set("listenChannels", 0);
    for (const listener of this.#listeners) listener.interrupted();
  }

  notification(channel: string, text: string): void {
    const early = this.#early.get(channel);
    if (channel === MARK_CHANNEL) this.#mark(text);
    else if (early !== undefined) early.push(text);
    else if (this.#open.has(channel)) for (const listener of this.#listeners) listener.message(channel, text);
  }

  /** Whether Postgres and we agree on what is listened to, besides `others`; true while that is changing. */
  async verify(query: Query, others: number): Promise<boolean> {
    if (this.#syncing !== undefined) return true;
    const syncs = this.#syncs;
    const expected = this.#open.size + 1 + others;
    const [row] = await query("select count(*) from pg_listening_channels()", [], { name: "listening" });
    return syncs !== this.#syncs || this.#query !== query || Number(row?.[0]) === expected;
  }

  #mark(text: string): void {
    const mark = parseMark(text);
    if (mark === undefined) {
      this.#meter.count("drops", 1, { reason: "feed_mark" });
      this.#rarely.say("mark", (heldBack) =>
        this.#logger.warn({ channel: MARK_CHANNEL, heldBack }, "something that is no mark of ours was dropped"),
      );
    } else for (const listener of this.#listeners) listener.mark(mark);
  }

  #sync(): Promise<void> {
    this.#syncing ??= this.#run().finally(() => {
      this.#syncing = undefined;
    });
    return this.#syncing;
  }

  async #run(): Promise<void> {
    for (let query = this.#query; query !== undefined; query = this.#query) {
      const stale = [...this.#open].filter((channel) => !this.#wanted.has(channel)).slice(0, BATCH);
      const missing = [...this.#wanted].filter((channel) => !this.#open.has(channel)).slice(0, BATCH);
      if (stale.length + missing.length === 0) return;
      this.#syncs++;
      try {
        if (stale.length > 0) await this.#unlisten(query, stale);
        if (missing.length > 0) await this.#listen(query, missing);
      } catch (error) {
        if (this.#query !== query) continue; // the next connection starts from nothing
        this.#logger.warn({ err: error }, "LISTEN failed; trying again");
        await new Promise((resolve) => setTimeout(resolve, RETRY_MS));
      }
      this.#meter.set("listenChannels", this.#open.size);
    }
  }

  async #listen(query: Query, channels: readonly string[]): Promise<void> {
    for (const channel of channels) this.#early.set(channel, []);
    try {
      await query(channels.map((channel) => `listen ${pg.escapeIdentifier(channel)}`).join("; "));
    } catch (error) {
      if (this.#query === query) for (const channel of channels) this.#early.delete(channel);
      throw error;
    }
    if (this.#query !== query) return;
    for (const channel of channels) {
      const early = this.#early.get(channel) ?? [];
      this.#early.delete(channel);
      this.#open.add(channel);
      for (const listener of this.#listeners) {
        listener.opened(channel);
        for (const text of early) listener.message(channel, text);
      }
    }
  }

  async #unlisten(query: Query, channels: readonly string[]): Promise<void> {
    for (const channel of channels) {
      this.#open.delete(channel);
      for (const listener of this.#listeners) listener.closed(channel);
    }
    await query(channels.map((channel) => `unlisten ${pg.escapeIdentifier(channel)}`).join("; "));
  }
}

/** Longer names Postgres would cut, and then answer for another channel. */
export function isListenable(channel: string): boolean {
  const bytes = Buffer.byteLength(channel);
  return (
    bytes > 0 && bytes <= MAX_NAME_BYTES && !channel.includes("\0") && channel.isWellFormed() && !OWN.test(channel)
  );
}

function parseMark(text: string): Mark | undefined {
  try {
    const { mark, done } = JSON.parse(text) as Mark;
    const sound = Number.isSafeInteger(mark) && Number.isSafeInteger(done) && mark > 0 && done >= 0;
    return sound && Math.max(mark, done) < Date.now() + MAX_MARK_AHEAD_MS ? { mark, done } : undefined;
  } catch {
    return undefined;
  }
}
