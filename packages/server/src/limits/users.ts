import { randomBytes } from "node:crypto";
import type { Logger, Meter, Seats } from "@carillon/core";
import { CarillonError } from "@carillon/protocol";

export interface UserConnectionsOptions {
  readonly max: number;
  /** Absent: this node alone. */
  readonly seats: Seats | undefined;
  readonly meter: Pick<Meter, "count">;
  readonly logger: Logger;
}

/** What of a transport is used. */
export interface Closes {
  readonly isOpen: boolean;
  onClose(listener: () => void): unknown;
}

/** Well within the time after which a seat that nobody speaks of is given up. */
const KEEP_EVERY_MS = 180_000;

/** Transports of each user, over all nodes. While Redis is away each node counts its own, which is counted. */
export class UserConnections {
  readonly #options: UserConnectionsOptions;
  /** Seats by user, of the transports of this node. */
  readonly #held = new Map<string, Map<Closes, string>>();
  #timer: NodeJS.Timeout | undefined;

  constructor(options: UserConnectionsOptions) {
    this.#options = options;
  }

  start(): void {
    const { seats, logger } = this.#options;
    if (seats === undefined) return;
    this.#timer = setInterval(() => {
      const held = [...this.#held].flatMap(([user, own]) => [...own.values()].map((seat) => [user, seat] as const));
      seats.keep(held).catch((error: unknown) => logger.debug({ err: error }, "keeping connection counts failed"));
    }, KEEP_EVERY_MS);
  }

  stop(): void {
    clearInterval(this.#timer);
  }

  /** Counts a transport for a user, once, until it closes. Throws `TOO_MANY_CONNECTIONS`. */
  async admit(user: string, transport: Closes): Promise<void> {
    const { max, seats, meter } = this.#options;
    const own = this.#held.get(user) ?? new Map<Closes, string>();
    if (own.has(transport) || !transport.isOpen) return;
    if (own.size >= max) throw tooMany();
    const seat = randomBytes(9).toString("base64url");
    // Before anything is waited for: many that come at once must see each other.
    this.#held.set(user, own.set(transport, seat));
    transport.onClose(() => this.#release(user, transport));
    if (seats === undefined) return;
    try {
      if (await seats.take(user, seat, max)) {
        // It closed meanwhile, and so was let go of before it was taken.
        if (!own.has(transport)) void seats.leave(user, seat).catch(() => {});
        return;
      }
    } catch (error) {
      if (!(error instanceof CarillonError)) throw error;
      meter.count("limitsLocal");
      return;
    }
    this.#release(user, transport);
    throw tooMany();
  }

  #release(user: string, transport: Closes): void {
    const own = this.#held.get(user);
    const seat = own?.get(transport);
    if (own === undefined || seat === undefined) return;
    own.delete(transport);
    if (own.size === 0) this.#held.delete(user);
    // What Redis does not hear now is given up in time.
    this.#options.seats?.leave(user, seat).catch(() => {});
  }
}

function tooMany(): CarillonError {
  return new CarillonError("TOO_MANY_CONNECTIONS", "this user has too many connections");
}
