import { type InterestRegistry, type Logger, noLogger } from "@carillon/core";
import { type ChannelName, isChannelName } from "@carillon/protocol";
import type { RedisConnections } from "./connections.ts";

export interface RedisInterestOptions {
  /** How often to look without being told. Default 5,000. */
  readonly pollMs?: number;
  /** How often to repeat what this node wants. Default 10,000; what nobody repeats for three of these is gone. */
  readonly refreshMs?: number;
  readonly logger?: Logger;
}

/**
 * Two sorted sets of channels by the time at which they expire, and a word on a channel when one of them changes: the word makes it
 * fast, the poll makes it sure. `want` takes the whole of what this node wants; `confirm` adds, and what it added is vouched for
 * while somebody wants it, until `release`.
 */
export class RedisInterestRegistry implements InterestRegistry {
  readonly #connections: Pick<RedisConnections, "commands" | "names" | "subscriptions">;
  readonly #pollMs: number;
  readonly #refreshMs: number;
  readonly #logger: Logger;
  readonly #onWanted: (() => void)[] = [];
  readonly #onConfirmed: ((channels: readonly ChannelName[]) => void)[] = [];
  #own: readonly ChannelName[] = [];
  #vouched = new Set<ChannelName>();
  #timers: NodeJS.Timeout[] = [];
  #stopListening: (() => void)[] = [];
  #polling = false;
  #lastWanted = "";
  #lastConfirmed = new Set<ChannelName>();

  constructor(
    connections: Pick<RedisConnections, "commands" | "names" | "subscriptions">,
    options: RedisInterestOptions = {},
  ) {
    this.#connections = connections;
    this.#pollMs = options.pollMs ?? 5_000;
    this.#refreshMs = options.refreshMs ?? 10_000;
    this.#logger = options.logger ?? noLogger;
  }

  start(): void {
    if (this.#timers.length > 0) return;
    const { subscriptions, names } = this.#connections;
    this.#stopListening = [
      subscriptions.onChannel(names.interestChannel, () => void this.#poll()),
      subscriptions.listen({ subscribed: () => void this.#poll() }),
    ];
    this.#timers = [
      setInterval(() => void this.#poll(), this.#pollMs),
      setInterval(() => void this.#refresh(), this.#refreshMs),
    ];
  }

  stop(): void {
    for (const timer of this.#timers) clearInterval(timer);
    for (const stop of this.#stopListening) stop();
    this.#timers = [];
  }

  async want(channels: readonly ChannelName[]): Promise<void> {
    this.#own = [...channels];
    await this.#put(this.#connections.names.wanted, channels);
  }

  wanted(): Promise<ChannelName[]> {
    return this.#live(this.#connections.names.wanted);
  }

  async confirm(channels: readonly ChannelName[]): Promise<void> {
    for (const channel of channels) this.#vouched.add(channel);
    await this.#put(this.#connections.names.confirmed, channels);
  }

  /** This node is not the bridge any more, and vouches for nothing. */
  release(): void {
    this.#vouched.clear();
  }

  onWanted(listener: () => void): void {
    this.#onWanted.push(listener);
  }

  onConfirmed(listener: (channels: readonly ChannelName[]) => void): void {
    this.#onConfirmed.push(listener);
  }

  async confirmed(channel: ChannelName): Promise<boolean> {
    const { commands, names } = this.#connections;
    const expires = await commands.run((redis) => redis.zscore(names.confirmed, channel));
    return expires !== null && Number(expires) > Date.now();
  }

  /** Announced only where somebody could not know it yet; a refresh is nobody's news. */
  async #put(key: string, channels: readonly ChannelName[]): Promise<void> {
    if (channels.length === 0) return;
    const { commands, names } = this.#connections;
    const expires = Date.now() + 3 * this.#refreshMs;
    const added = await commands.run(async (redis) => {
      const before = (await redis.zmscore(key, ...channels)).filter((score) => Number(score ?? 0) > Date.now()).length;
      await redis.zadd(key, "GT", ...channels.flatMap((channel) => [expires, channel]));
      return channels.length - before;
    });
    if (added > 0) await commands.run((redis) => redis.publish(names.interestChannel, ""));
  }

  async #live(key: string): Promise<ChannelName[]> {
    const now = Date.now();
    const [, channels] = await this.#connections.commands.run((redis) =>
      Promise.all([
        redis.zremrangebyscore(key, "-inf", now),
        redis.zrangebyscore(key, now, "+inf", "LIMIT", 0, MAX_CHANNELS),
      ]),
    );
    return channels.filter(isChannelName);
  }

  async #refresh(): Promise<void> {
    try {
      const { names } = this.#connections;
      await this.#put(names.wanted, this.#own);
      if (this.#vouched.size === 0) return;
      this.#vouched = this.#vouched.intersection(new Set(await this.wanted()));
      await this.#put(names.confirmed, [...this.#vouched]);
    } catch (error) {
      this.#logger.debug({ err: error }, "repeating the wanted channels failed, trying again later");
    }
  }

  async #poll(): Promise<void> {
    if (this.#polling) return;
    this.#polling = true;
    try {
      const { names } = this.#connections;
      const [wanted, confirmed] = await Promise.all([this.#live(names.wanted), this.#live(names.confirmed)]);
      const all = wanted.toSorted().join("\n");
      if (all !== this.#lastWanted) for (const listener of this.#onWanted) listener();
      this.#lastWanted = all;
      const now = new Set(confirmed);
      const fresh = [...now.difference(this.#lastConfirmed)];
      this.#lastConfirmed = now;
      if (fresh.length > 0) for (const listener of this.#onConfirmed) listener(fresh);
    } catch (error) {
      this.#logger.debug({ err: error }, "looking for wanted channels failed, trying again later");
    } finally {
      this.#polling = false;
    }
  }
}

const MAX_CHANNELS = 10_000;
