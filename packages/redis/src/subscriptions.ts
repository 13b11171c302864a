import type { Logger, Meter } from "@carillon/core";
import { Rarely } from "@carillon/core";
import type { Redis } from "ioredis";
import { reconnect } from "./reconnect.ts";

export type MessageHandler = (channel: Buffer, message: Buffer) => void;

export interface SubscriptionsListener {
  /** All that was asked for is confirmed by Redis, on a new connection: what came before may have been missed. */
  subscribed?(): void;
  closed?(): void;
}

/**
 * What one connection listens to, and who wants it.
 *
 * It subscribes by itself after each reconnect instead of leaving that to ioredis, which believes its own list: a subscription that
 * Redis dropped silently would not come back. Messages reach their handlers by one look-up, not by asking every namespace.
 */
export class Subscriptions {
  readonly redis: Redis;
  readonly #meter: Meter;
  readonly #logger: Logger;
  readonly #rarely = new Rarely(10_000);
  readonly #patterns = new Map<string, Set<MessageHandler>>();
  readonly #channels = new Map<string, Set<MessageHandler>>();
  readonly #listeners = new Set<SubscriptionsListener>();

  constructor(redis: Redis, options: { meter: Meter; logger: Logger }) {
    this.redis = redis;
    this.#meter = options.meter;
    this.#logger = options.logger;
    redis.on("ready", () => void this.#subscribeAll());
    redis.on("close", () => {
      for (const listener of this.#listeners) listener.closed?.();
    });
    redis.on("pmessageBuffer", (pattern: string, channel: Buffer, message: Buffer) => {
      this.#dispatch(this.#patterns.get(String(pattern)), channel, message);
    });
    redis.on("messageBuffer", (channel: Buffer, message: Buffer) => {
      this.#dispatch(this.#channels.get(channel.toString()), channel, message);
    });
  }

  get ready(): boolean {
    return this.redis.status === "ready";
  }

  listen(listener: SubscriptionsListener): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** The returned function lets go of it; the last one to do so unsubscribes. */
  onPattern(pattern: string, handler: MessageHandler): () => void {
    return this.#add(this.#patterns, pattern, handler, "psubscribe", "punsubscribe");
  }

  onChannel(channel: string, handler: MessageHandler): () => void {
    return this.#add(this.#channels, channel, handler, "subscribe", "unsubscribe");
  }

  /** Subscribes to everything again and tells the listeners: for one that comes when the connection is already up. */
  refresh(): void {
    if (this.ready) void this.#subscribeAll();
  }

  /** Gives the connection up and makes a new one. Without effect while one is being made. */
  rebuild(): void {
    reconnect(this.redis);
  }

  close(): void {
    this.redis.disconnect();
  }

  #add(
    wanted: Map<string, Set<MessageHandler>>,
    name: string,
    handler: MessageHandler,
    subscribe: "subscribe" | "psubscribe",
    unsubscribe: "unsubscribe" | "punsubscribe",
  ): () => void {
    const handlers = wanted.get(name);
    if (handlers === undefined) {
      wanted.set(name, new Set([handler]));
      if (this.ready) void this.#send(subscribe, [name]);
    } else handlers.add(handler);

    return () => {
      const left = wanted.get(name);
      if (left?.delete(handler) !== true || left.size > 0) return;
      wanted.delete(name);
      if (this.ready) void this.#send(unsubscribe, [name]);
    };
  }

  async #subscribeAll(): Promise<void> {
    const sent = [
      this.#patterns.size > 0 && this.#send("psubscribe", [...this.#patterns.keys()]),
      this.#channels.size > 0 && this.#send("subscribe", [...this.#channels.keys()]),
    ];
    const confirmed = await Promise.all(sent.filter((answer) => answer !== false));
    if (confirmed.length === 0 || confirmed.includes(false)) return;
    for (const listener of this.#listeners) listener.subscribed?.();
  }

  /** False when Redis refused; a lost connection leaves it unsettled, and the next one subscribes anew. */
  async #send(command: "subscribe" | "psubscribe" | "unsubscribe" | "punsubscribe", names: string[]): Promise<boolean> {
    try {
      await this.redis[command](...names);
      return true;
    } catch (error) {
      this.#rarely.say(command, (heldBack) =>
        this.#logger.error({ err: error, command, names: names.slice(0, 5), heldBack }, "Redis refused a subscription"),
      );
      return false;
    }
  }

  #dispatch(handlers: Set<MessageHandler> | undefined, channel: Buffer, message: Buffer): void {
    if (handlers === undefined) return;
    for (const handler of handlers) {
      try {
        handler(channel, message);
      } catch (error) {
        // Anybody with access to Redis can publish here; thrown out of an event handler it would end the process.
        this.#meter.count("drops", 1, { reason: "adapter_message" });
        this.#rarely.say("dispatch", (heldBack) =>
          this.#logger.warn({ err: error, heldBack }, "a message from Redis could not be read"),
        );
      }
    }
  }
}
