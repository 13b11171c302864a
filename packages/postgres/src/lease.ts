import type { Lease, Logger, Meter } from "@carillon/core";
import type { Query } from "./connection.ts";
import { LEASE_LOCK, LOCK_CLASS } from "./locks.ts";

export interface LeaseOptions {
  readonly meter: Meter;
  readonly logger: Logger;
  /** Two bridges at once, for tests of the fences: every connection counts as the holder. */
  readonly everybodyHolds?: boolean;
}

const ASK_MS = 250;
const STEP_DOWN_MS = 3_000;

/**
 * A session advisory lock on the bridge's own connection: whoever has it reads the outbox. Asked for again and again and never waited
 * for, since a waiting lock holds a snapshot that keeps vacuum from doing its work in the whole database.
 */
export class AdvisoryLease implements Lease {
  readonly #options: LeaseOptions;
  readonly #listeners: ((held: boolean) => void)[] = [];
  #query: Query | undefined;
  #timer: NodeJS.Timeout | undefined;
  #held = false;
  #notBefore = 0;

  constructor(options: LeaseOptions) {
    this.#options = options;
  }

  get held(): boolean {
    return this.#held;
  }

  onChange(listener: (held: boolean) => void): void {
    this.#listeners.push(listener);
  }

  /** Calls `listener` whenever it becomes `held`; the returned function ends that. */
  onBecoming(held: boolean, listener: () => void): () => void {
    const wrapped = (now: boolean) => {
      if (now === held) listener();
    };
    this.#listeners.push(wrapped);
    return () => {
      const index = this.#listeners.indexOf(wrapped);
      if (index !== -1) this.#listeners.splice(index, 1);
    };
  }

  stepDown(): void {
    this.#abstain(STEP_DOWN_MS);
  }

  giveWay(): void {
    this.#abstain(2 * ASK_MS);
  }

  /** Takes part with this connection from now on. */
  attach(query: Query): void {
    this.#query = query;
    void this.#ask();
  }

  /** The connection is gone, and the lock with it. */
  detach(): void {
    this.#query = undefined;
    clearTimeout(this.#timer);
    this.#set(false);
  }

  #abstain(ms: number): void {
    if (!this.#held) return;
    this.#notBefore = performance.now() + ms;
    const query = this.#query;
    this.#set(false);
    if (query !== undefined && this.#options.everybodyHolds !== true) {
      query(`select pg_advisory_unlock(${LOCK_CLASS}, ${LEASE_LOCK})`).catch(() => {}); // gone with the connection
    }
    this.#askLater();
  }

  async #ask(): Promise<void> {
    const query = this.#query;
    if (query === undefined || this.#held) return;
    if (performance.now() >= this.#notBefore) {
      try {
        const got = this.#options.everybodyHolds === true || (await tryLock(query));
        if (this.#query !== query) return;
        if (got) return this.#set(true);
      } catch (error) {
        if (this.#query !== query) return;
        this.#options.logger.debug({ err: error }, "asking for the bridge's lease failed");
      }
    }
    this.#askLater();
  }

  #askLater(): void {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => void this.#ask(), ASK_MS);
  }

  #set(held: boolean): void {
    if (this.#held === held) return;
    this.#held = held;
    this.#options.meter.set("lease", held ? 1 : 0, { lease: "bridge" });
    this.#options.logger.info({ lease: "bridge", held }, held ? "took the lease" : "the lease is no longer held");
    for (const listener of [...this.#listeners]) listener(held);
  }
}

async function tryLock(query: Query): Promise<boolean> {
  const [row] = await query(`select pg_try_advisory_lock(${LOCK_CLASS}, ${LEASE_LOCK})`, [], { name: "lease" });
  return row?.[0] === "t";
}
