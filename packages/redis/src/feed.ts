import { randomBytes } from "node:crypto";
import {
  type Feed,
  type FeedListener,
  type Logger,
  type Mark,
  type Meter,
  noLogger,
  noMeter,
  Rarely,
} from "@carillon/core";
import type { RedisConnections } from "./connections.ts";
import { compileGlob } from "./glob.ts";
import type { Subscriptions } from "./subscriptions.ts";

export interface RedisFeedOptions {
  /** With the ingress prefix, where there is one. */
  readonly channels: readonly string[];
  readonly patterns: readonly string[];
  readonly meter?: Meter;
  readonly logger?: Logger;
}

/**
 * Redis channels as a lossy feed that all nodes hear in the same order.
 *
 * Every second it says something to itself: Redis confirms a subscription once and drops it without a word. In a Cluster all nodes
 * listen at the same server, the one that holds the log: only there is the order one for all.
 *
 * Channels that only a pattern names are open from the moment the feed is: `opened` comes for exact channels alone.
 */
export class RedisFeed implements Feed {
  readonly name = "redis";
  readonly #connections: Pick<RedisConnections, "commands" | "names" | "openFeed">;
  readonly #channels: ReadonlySet<string>;
  readonly #patterns: readonly string[];
  readonly #globs: readonly ((channel: string) => boolean)[];
  readonly #meter: Meter;
  readonly #logger: Logger;
  readonly #rarely = new Rarely(60_000);
  readonly #echoChannel: string;
  #subscriptions: Subscriptions | undefined;
  #listener: FeedListener | undefined;
  #timer: NodeJS.Timeout | undefined;
  #checkedAt = 0;
  #heardAt = 0;
  #open = false;

  constructor(connections: Pick<RedisConnections, "commands" | "names" | "openFeed">, options: RedisFeedOptions) {
    this.#connections = connections;
    this.#channels = new Set(options.channels);
    this.#patterns = [...new Set(options.patterns)];
    this.#globs = this.#patterns.map(compileGlob);
    this.#meter = options.meter ?? noMeter;
    this.#logger = options.logger ?? noLogger;
    this.#echoChannel = connections.names.echoChannel(randomBytes(9).toString("base64url"));
  }

  /** Once; opens the connection. */
  listen(listener: FeedListener): void {
    if (this.#listener !== undefined) throw new Error("a feed has one listener");
    this.#listener = listener;
    const subscriptions = this.#connections.openFeed();
    this.#subscriptions = subscriptions;
    subscriptions.onChannel(this.#connections.names.markChannel, (_channel, message) =>
      this.#mark(message.toString("latin1")),
    );
    subscriptions.onChannel(this.#echoChannel, () => {
      this.#heardAt = performance.now();
    });
    for (const channel of this.#channels) {
      subscriptions.onChannel(channel, (_channel, message) => listener.message(channel, message.toString("utf8")));
    }
    this.#patterns.forEach((pattern, index) => {
      subscriptions.onPattern(pattern, (name, message) => this.#matched(name.toString(), index, message));
    });
    subscriptions.listen({ subscribed: () => this.#subscribed(), closed: () => this.#interrupted() });
    this.#heardAt = this.#checkedAt = performance.now();
    this.#timer = setInterval(() => this.#check(), CHECK_MS);
  }

  /** Sent once and never again: a mark that came twice would give two messages one position, and the second would be dropped. */
  async sendMark({ mark, done }: Mark): Promise<void> {
    const { commands, names } = this.#connections;
    await commands.run((redis) => redis.publish(names.markChannel, `${mark} ${done}`), {
      once: true,
      timeoutMs: MARK_TIMEOUT_MS,
    });
  }

  stop(): void {
    clearInterval(this.#timer);
    this.#subscriptions?.close();
  }

  /** Redis sends a message once for the exact name and once for every pattern that fits; the first of these speaks for all. */
  #matched(channel: string, index: number, message: Buffer): void {
    if (this.#channels.has(channel) || this.#connections.names.isOwnChannel(channel)) return;
    for (let before = 0; before < index; before++) if (this.#globs[before]?.(channel)) return;
    this.#listener?.message(channel, message.toString("utf8"));
  }

  #mark(text: string): void {
    const match = /^(\d{1,15}) (\d{1,15})$/.exec(text);
    if (match === null) {
      this.#meter.count("drops", 1, { reason: "feed_mark" });
      this.#rarely.say("mark", (heldBack) =>
        this.#logger.warn({ heldBack }, "something that is no mark of ours was dropped"),
      );
    } else this.#listener?.mark({ mark: Number(match[1]), done: Number(match[2]) });
  }

  #subscribed(): void {
    this.#heardAt = performance.now();
    this.#listener?.interrupted();
    this.#open = true;
    for (const channel of this.#channels) this.#listener?.opened(channel);
  }

  #interrupted(): void {
    if (!this.#open) return;
    this.#open = false;
    this.#listener?.interrupted();
  }

  #check(): void {
    const subscriptions = this.#subscriptions;
    const now = performance.now();
    const late = now - this.#checkedAt > 2 * CHECK_MS;
    this.#checkedAt = now;
    // This process itself stood still; what arrived meanwhile is read after this timer.
    if (late || subscriptions === undefined || !subscriptions.ready) this.#heardAt = now;
    else if (now - this.#heardAt > SILENT_MS) {
      this.#logger.warn({}, "the Redis feed is silent: subscribing anew");
      this.#interrupted();
      this.#heardAt = now;
      subscriptions.rebuild();
    }
    const { commands } = this.#connections;
    if (!commands.ready) {
      // It can't say anything to itself; whether it still hears is unknown, not untrue.
      this.#heardAt = now;
      return;
    }
    commands.run((redis) => redis.publish(this.#echoChannel, ""), { once: true, timeoutMs: CHECK_MS }).catch(() => {});
  }
}

const CHECK_MS = 1_000;
const SILENT_MS = 4_000;
const MARK_TIMEOUT_MS = 2_000;
