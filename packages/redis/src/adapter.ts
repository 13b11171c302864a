import { type Logger, type Meter, noLogger, noMeter, Rarely } from "@carillon/core";
import { RedisAdapter, type RedisAdapterOptions } from "@socket.io/redis-adapter";
import type { Namespace } from "socket.io";
import type { Adapter } from "socket.io-adapter";
import type { RedisConnections } from "./connections.ts";
import { BROADCAST, HEARTBEAT } from "./record.ts";
import type { Subscriptions } from "./subscriptions.ts";

/** The handlers are private in the adapter's types, though made to be called by a Redis client; TypeScript lets none override those. */
interface AdapterHandlers {
  onmessage(pattern: string, channel: Buffer, message: Buffer): void;
  onrequest(channel: Buffer, message: Buffer): Promise<void>;
}

const StockAdapter = RedisAdapter as unknown as new (
  namespace: Namespace,
  publisher: AdapterPublisher,
  subscriber: AdapterSubscriber,
  options: Partial<RedisAdapterOptions>,
) => Adapter & AdapterHandlers;

export interface CarillonAdapterOptions {
  /** How long requests to the other nodes wait (`fetchSockets`, `serverSideEmit`). Default 5,000. */
  readonly requestsTimeoutMs?: number;
  readonly meter?: Meter;
  readonly logger?: Logger;
}

/**
 * For `io.adapter(…)`: the stock Redis adapter, so that `@socket.io/redis-emitter` and requests between nodes work beside the bus,
 * at most once as ever. What it sends while Redis is away is dropped and counted, and nothing it does rejects unhandled.
 */
export function createCarillonAdapter(
  connections: Pick<RedisConnections, "commands" | "subscriptions" | "names">,
  options: CarillonAdapterOptions = {},
): (namespace: Namespace) => Adapter {
  const { meter = noMeter, logger = noLogger, requestsTimeoutMs = 5_000 } = options;
  const publisher = new AdapterPublisher(connections.commands, meter);
  const rarely = new Rarely(10_000);
  const ignore = (error: unknown) => {
    meter.count("drops", 1, { reason: "adapter_message" });
    rarely.say("message", (heldBack) =>
      logger.warn({ err: error, heldBack }, "a message for the Socket.IO adapter could not be read"),
    );
  };

  class CarillonAdapter extends StockAdapter {
    override onmessage(pattern: string, channel: Buffer, message: Buffer): void {
      // Those are the bus's, which listens on the root namespace's channel too.
      if (message[0] === BROADCAST || message[0] === HEARTBEAT) return;
      try {
        super.onmessage(pattern, channel, message);
      } catch (error) {
        ignore(error);
      }
    }

    override async onrequest(channel: Buffer, message: Buffer): Promise<void> {
      try {
        await super.onrequest(channel, message);
      } catch (error) {
        ignore(error);
      }
    }
  }

  // Socket.IO calls it with `new`, which an arrow function would refuse.
  return function adapter(namespace) {
    return new CarillonAdapter(namespace, publisher, new AdapterSubscriber(connections.subscriptions), {
      key: connections.names.prefix,
      requestsTimeout: requestsTimeoutMs,
    });
  };
}

/** What the stock adapter uses of an ioredis client to send. Its promises are nobody's, so there are none. */
class AdapterPublisher {
  readonly #commands: RedisConnections["commands"];
  readonly #meter: Meter;

  constructor(commands: RedisConnections["commands"], meter: Meter) {
    this.#commands = commands;
    this.#meter = meter;
  }

  publish(channel: string, message: string | Buffer): void {
    const drop = () => this.#meter.count("drops", 1, { reason: "adapter_publish" });
    if (this.#commands.ready)
      this.#commands.run((redis) => redis.publish(channel, message), { once: true }).catch(drop);
    else drop();
  }

  send_command(command: string, args: string[], callback: (error: unknown, answer?: unknown) => void): void {
    this.#commands
      .run((redis) => redis.call(command, ...args))
      .then(
        (answer) => callback(null, answer),
        (error) => callback(error),
      );
  }

  on(): void {}
  off(): void {}
}

/**
 * What the stock adapter uses of an ioredis client to listen. Each adapter has its own, which knows whose messages are whose: with
 * one client for all, every message would be offered to every namespace.
 */
class AdapterSubscriber {
  readonly #subscriptions: Subscriptions;
  readonly #patterns = new Map<string, () => void>();
  readonly #channels = new Map<string, () => void>();
  #onMessage: AdapterHandlers["onmessage"] = () => {};
  #onRequest: (channel: Buffer, message: Buffer) => void = () => {};

  constructor(subscriptions: Subscriptions) {
    this.#subscriptions = subscriptions;
  }

  psubscribe(pattern: string): void {
    const stop = this.#subscriptions.onPattern(pattern, (channel, message) =>
      this.#onMessage(pattern, channel, message),
    );
    this.#patterns.set(pattern, stop);
  }

  subscribe(channels: string[]): void {
    for (const channel of channels) {
      const stop = this.#subscriptions.onChannel(channel, (name, message) => this.#onRequest(name, message));
      this.#channels.set(channel, stop);
    }
  }

  punsubscribe(pattern: string): void {
    this.#patterns.get(pattern)?.();
    this.#patterns.delete(pattern);
  }

  unsubscribe(channels: string[]): void {
    for (const channel of channels) {
      this.#channels.get(channel)?.();
      this.#channels.delete(channel);
    }
  }

  // biome-ignore lint/suspicious/noExplicitAny: the stock adapter registers handlers of both shapes and others that never fire here
  on(event: string, handler: (...args: any[]) => void): void {
    if (event === "pmessageBuffer") this.#onMessage = handler;
    if (event === "messageBuffer") this.#onRequest = handler;
  }

  off(event: string): void {
    if (event === "pmessageBuffer") this.#onMessage = () => {};
    if (event === "messageBuffer") this.#onRequest = () => {};
  }
}
