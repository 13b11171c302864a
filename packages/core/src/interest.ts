/**
 * Which custom channels this node's connections subscribe to and Postgres must LISTEN on; counted here, joined over the
 * cluster by the registry, so that a subscription costs no database connection.
 */
import { CarillonError, type ChannelName } from "@carillon/protocol";
import type { Logger } from "./logger.ts";
import type { InterestRegistry } from "./ports.ts";

export interface InterestOptions {
  readonly registry: InterestRegistry;
  /** Whether a channel needs a LISTEN of its own. */
  readonly isCustom: (channel: ChannelName) => boolean;
  readonly maxChannels: number;
  /** How long a subscriber waits for LISTEN; after it the ack goes out and a gap follows once LISTEN holds. */
  readonly confirmTimeoutMs: number;
  readonly logger: Logger;
}

/** LISTEN stays this long after the last holder, so that a client that reconnects finds nothing missing. */
const LINGER_MS = 60_000;
const ANNOUNCE_RETRY_MS = 1000;

interface Held {
  holders: number;
  confirmed: boolean;
  linger?: NodeJS.Timeout;
}

export class Interest {
  readonly #options: InterestOptions;
  readonly #held = new Map<ChannelName, Held>();
  readonly #waiters = new Map<ChannelName, Set<() => void>>();
  #announcing = false;
  #announceAgain = false;
  #stopped = false;

  constructor(options: InterestOptions) {
    this.#options = options;
    options.registry.onConfirmed((channels) => this.#confirm(channels));
  }

  get size(): number {
    return this.#held.size;
  }

  /** Resolves once NOTIFY on `channel` will arrive, or the bound has passed. The returned function lets go; calling it twice is harmless. */
  async acquire(channel: ChannelName): Promise<() => void> {
    if (!this.#options.isCustom(channel)) return () => {};
    const held = this.#hold(channel);
    let released = false;
    if (!held.confirmed) await this.#confirmation(channel);
    return () => {
      if (!released) this.#release(channel);
      released = true;
    };
  }

  stop(): void {
    this.#stopped = true;
    for (const { linger } of this.#held.values()) clearTimeout(linger);
    for (const waiters of this.#waiters.values()) for (const done of waiters) done();
  }

  #hold(channel: ChannelName): Held {
    let held = this.#held.get(channel);
    if (held === undefined) {
      if (this.#held.size >= this.#options.maxChannels) this.#dropLingering();
      if (this.#held.size >= this.#options.maxChannels) {
        throw new CarillonError(
          "TOO_MANY_LISTEN_CHANNELS",
          `this node listens on ${this.#options.maxChannels} custom channels already (MAX_LISTEN_CHANNELS)`,
        );
      }
      held = { holders: 0, confirmed: false };
      this.#held.set(channel, held);
      void this.#announce();
    }
    clearTimeout(held.linger);
    delete held.linger;
    held.holders++;
    return held;
  }

  #release(channel: ChannelName): void {
    const held = this.#held.get(channel);
    if (held === undefined || --held.holders > 0 || this.#stopped) return;
    held.linger = setTimeout(() => {
      this.#held.delete(channel);
      void this.#announce();
    }, LINGER_MS);
    held.linger.unref();
  }

  /** Nobody needs it now, and somebody needs its place. */
  #dropLingering(): void {
    for (const [channel, { linger }] of this.#held) {
      if (linger === undefined) continue;
      clearTimeout(linger);
      this.#held.delete(channel);
      return;
    }
  }

  async #confirmation(channel: ChannelName): Promise<void> {
    await new Promise<void>((resolve) => {
      const waiters = this.#waiters.get(channel) ?? new Set();
      this.#waiters.set(channel, waiters);
      const done = () => {
        clearTimeout(timer);
        waiters.delete(done);
        if (waiters.size === 0) this.#waiters.delete(channel);
        resolve();
      };
      const timer = setTimeout(done, this.#options.confirmTimeoutMs);
      waiters.add(done);
      // Another node's connection may have had it confirmed before.
      this.#options.registry.confirmed(channel).then(
        (confirmed) => confirmed && this.#confirm([channel]),
        () => {},
      );
    });
  }

  #confirm(channels: readonly ChannelName[]): void {
    for (const channel of channels) {
      const held = this.#held.get(channel);
      if (held !== undefined) held.confirmed = true;
      for (const done of this.#waiters.get(channel) ?? []) done();
    }
  }

  /** Tells the registry the whole set, again until it has it; a change meanwhile makes it tell once more. */
  async #announce(): Promise<void> {
    this.#announceAgain = true;
    if (this.#announcing) return;
    this.#announcing = true;
    while (this.#announceAgain && !this.#stopped) {
      this.#announceAgain = false;
      try {
        await this.#options.registry.want([...this.#held.keys()]);
      } catch (error) {
        this.#options.logger.debug({ err: error }, "announcing wanted channels failed, trying again");
        this.#announceAgain = true;
        await new Promise((resolve) => setTimeout(resolve, ANNOUNCE_RETRY_MS));
      }
    }
    this.#announcing = false;
  }
}
