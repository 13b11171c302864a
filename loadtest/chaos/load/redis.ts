/** Publishes on the Redis channels that the nodes hear: at most once, as pub/sub is. */
import type { Redis } from "ioredis";
import { scopeOfTag } from "../names.ts";
import type { Ingress } from "./ingress.ts";
import { type Draft, type Ledger, Refused } from "./ledger.ts";

export interface RedisIngressOptions {
  readonly connect: () => Redis;
  readonly ledger: Ledger;
  readonly form: RedisForm;
}

/** `text`: the scope alone. `json`: an object. `nest`: as NestJS' Redis transport wraps it. `event`: a domain event, on two channels. */
export type RedisForm = "text" | "json" | "nest" | "event";

export class RedisIngress implements Ingress {
  readonly name: string;
  readonly weight = 1;
  readonly lanes = 1;
  readonly #options: RedisIngressOptions;
  readonly #redis: Redis;

  constructor(options: RedisIngressOptions) {
    this.#options = options;
    this.name = `redis-${options.form}-`;
    this.#redis = options.connect();
  }

  async publish(tag: string): Promise<void> {
    const { ledger, form } = this.#options;
    const [channel, text, heardOn] = messageOf(form, tag);
    let sending: Promise<void> | undefined;
    // An event becomes a publication on each of its namespaces, sent once.
    const send = () => (sending ??= this.#send(channel, text));
    await Promise.all(
      heardOn.map((name) => {
        const draft: Draft = { tag, channel: name, promised: false };
        return ledger.record(draft, async () => {
          await send();
          return undefined;
        });
      }),
    );
  }

  async close(): Promise<void> {
    this.#redis.disconnect();
  }

  async #send(channel: string, text: string): Promise<void> {
    if (this.#redis.status !== "ready") throw new Refused("not connected");
    const receivers = await this.#redis.publish(channel, text);
    if (receivers === 0) throw new Refused("nobody listens");
  }
}

/** For publishers: it fails at once while Redis is away, and gives up on an answer that does not come. */
export const publisherSettings = {
  enableOfflineQueue: false,
  maxRetriesPerRequest: 0,
  autoResendUnfulfilledCommands: false,
  commandTimeout: 3_000,
  retryStrategy: () => 200,
} as const;

function messageOf(form: RedisForm, tag: string): [channel: string, text: string, heardOn: readonly string[]] {
  const scope = scopeOfTag(tag);
  switch (form) {
    case "text":
      return ["refresh.notifications", scope, ["notifications"]];
    case "json":
      return ["trips.refresh", JSON.stringify({ scope }), ["trips"]];
    case "nest":
      return [
        "refresh.trips",
        JSON.stringify({ pattern: "refresh.trips", data: { type: "REFRESH", scope } }),
        ["trips"],
      ];
    case "event":
      return ["trip.status_changed", JSON.stringify({ scope, tripId: 42 }), ["trips", "notifications"]];
  }
}
