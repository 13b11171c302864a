import { randomBytes } from "node:crypto";
import { type Lease, type Logger, type Meter, noLogger, noMeter } from "@carillon/core";
import type { RedisConnections } from "./connections.ts";
import { defineScripts, type ScriptedRedis } from "./scripts.ts";

export interface RedisLeaseOptions {
  /** Names the lease among those of the deployment, and its metric. */
  readonly name: string;
  /** When another can take over after the holder's death. Default 5,000; the holder stops believing in it a fifth earlier. */
  readonly ttlMs?: number;
  readonly meter?: Meter;
  readonly logger?: Logger;
}

/** A key that its holder renews five times in its lifetime. */
export class RedisLease implements Lease {
  readonly #commands: RedisConnections["commands"];
  readonly #key: string;
  readonly #name: string;
  readonly #ttlMs: number;
  readonly #holder = randomBytes(12).toString("base64url");
  readonly #meter: Meter;
  readonly #logger: Logger;
  readonly #listeners: ((held: boolean) => void)[] = [];
  #timer: NodeJS.Timeout | undefined;
  #asking = false;
  /** When the last renewal that succeeded was sent: the key lives at least from there. */
  #renewedAt = Number.NEGATIVE_INFINITY;
  #abstainUntil = 0;
  #believed = false;
  /** Raised by each step down, so that an answer to an older question is no longer believed. */
  #term = 0;

  constructor(connections: Pick<RedisConnections, "commands" | "names">, options: RedisLeaseOptions) {
    this.#commands = connections.commands;
    this.#key = connections.names.lease(options.name);
    this.#name = options.name;
    this.#ttlMs = options.ttlMs ?? 5_000;
    this.#meter = options.meter ?? noMeter;
    this.#logger = options.logger ?? noLogger;
    defineScripts(connections.commands.redis);
  }

  /** By this process's own clock, so that a holder that stood still knows at once that it is one no more. */
  get held(): boolean {
    return this.#believed && performance.now() - this.#renewedAt < this.#ttlMs * 0.8;
  }

  onChange(listener: (held: boolean) => void): void {
    this.#listeners.push(listener);
  }

  start(): void {
    if (this.#timer !== undefined) return;
    this.#timer = setInterval(() => void this.#renew(), this.#ttlMs / 5);
    void this.#renew();
  }

  stepDown(): void {
    // Long enough for the others, who ask five times in a lifetime; short enough where there are none.
    this.#abstain(this.#ttlMs / 2);
  }

  giveWay(): void {
    this.#abstain((this.#ttlMs / 5) * 1.5);
  }

  async stop(): Promise<void> {
    clearInterval(this.#timer);
    this.#timer = undefined;
    await this.#release();
  }

  #abstain(ms: number): void {
    this.#abstainUntil = performance.now() + ms;
    void this.#release();
  }

  async #renew(): Promise<void> {
    if (!this.held) this.#believe(false);
    if (this.#asking || performance.now() < this.#abstainUntil) return;
    this.#asking = true;
    const sentAt = performance.now();
    const term = this.#term;
    try {
      const answer = await this.#commands.run(
        (redis) => (redis as ScriptedRedis).carillonRenew(this.#key, this.#holder, this.#ttlMs),
        { once: true, timeoutMs: this.#ttlMs / 5 },
      );
      if (term !== this.#term || this.#timer === undefined) return;
      if (answer === 1) this.#renewedAt = sentAt;
      this.#believe(answer === 1);
    } catch {
      // Unknown: it is believed until its time is over.
      if (!this.held) this.#believe(false);
    } finally {
      this.#asking = false;
    }
  }

  async #release(): Promise<void> {
    this.#term++;
    const might = this.#believed || this.#asking;
    this.#believe(false);
    if (!might) return;
    try {
      await this.#commands.run((redis) => (redis as ScriptedRedis).carillonRelease(this.#key, this.#holder), {
        timeoutMs: 1_000,
      });
    } catch {
      // It expires.
    }
  }

  #believe(held: boolean): void {
    if (held === this.#believed) return;
    this.#believed = held;
    this.#meter.set("lease", held ? 1 : 0, { lease: this.#name });
    this.#logger.info({ lease: this.#name, held }, held ? "took the lease" : "the lease is no longer held");
    for (const listener of this.#listeners) listener(held);
  }
}
