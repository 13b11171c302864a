/**
 * Tokens that are refused although they have not expired: those of a user, or of one of their sessions, issued before a moment.
 *
 * A revocation is stored, told to every node, and read again and again: a node that missed the telling, or was cut off, is healed
 * by the next reading. What a store has lost is given back to it by any node that still knows. Checks are local and cost nothing.
 */
import type { Logger } from "./logger.ts";

export interface Revocation {
  readonly user: string;
  /** One session of the user; all of them when absent. */
  readonly sid?: string | undefined;
  /** What was issued before it is refused, in milliseconds since 1970. */
  readonly beforeMs: number;
  readonly reason?: string | undefined;
}

/** Where revocations are stored, for all nodes and for as long as tokens may live. */
export interface Revocations {
  /** Resolves once it would survive this node, and tells the others. Never moves one back in time. Throws `BUS_UNAVAILABLE`. */
  revoke(revocation: Revocation): Promise<void>;
  /** All that are in force. */
  load(): Promise<readonly Revocation[]>;
  onRevoked(listener: (revocation: Revocation) => void): void;
}

export interface RevocationListOptions {
  readonly store: Revocations;
  readonly logger: Logger;
  /** How long a token may live; older revocations are forgotten. */
  readonly retentionMs: number;
  /** How often the store is read: the bound for a node that missed one. */
  readonly readEveryMs?: number;
}

/** Given back to a store that lost them, with each reading. */
const MAX_RETURNED = 500;

export class RevocationList {
  readonly #options: RevocationListOptions;
  readonly #listeners: ((revocation: Revocation) => void)[] = [];
  readonly #inForce = new Map<string, Revocation>();
  #timer: NodeJS.Timeout | undefined;
  #reading: Promise<void> | undefined;
  #loaded = false;

  constructor(options: RevocationListOptions) {
    this.#options = options;
    options.store.onRevoked((revocation) => this.#add(revocation));
  }

  /** Whether the store has been read since the start; until then nobody can be let in. */
  get loaded(): boolean {
    return this.#loaded;
  }

  start(): void {
    this.#timer = setInterval(() => void this.read(), this.#options.readEveryMs ?? 5000);
    void this.read();
  }

  stop(): void {
    clearInterval(this.#timer);
  }

  onRevoked(listener: (revocation: Revocation) => void): void {
    this.#listeners.push(listener);
  }

  /** Throws `BUS_UNAVAILABLE`; then it may be in force or not. */
  async revoke(revocation: Revocation): Promise<void> {
    await this.#options.store.revoke(revocation);
    this.#add(revocation);
  }

  isRevoked({
    user,
    sid,
    issuedMs,
  }: {
    readonly user: string | undefined;
    readonly sid: string | undefined;
    readonly issuedMs: number;
  }): boolean {
    if (user === undefined || this.#inForce.size === 0) return false;
    return (
      this.#isBefore(keyOf(user, undefined), issuedMs) ||
      (sid !== undefined && this.#isBefore(keyOf(user, sid), issuedMs))
    );
  }

  /** Reads the store. Never rejects: what is known stays in force while the store is away. */
  read(): Promise<void> {
    this.#reading ??= this.#load().finally(() => {
      this.#reading = undefined;
    });
    return this.#reading;
  }

  #isBefore(key: string, issuedMs: number): boolean {
    const revocation = this.#inForce.get(key);
    return revocation !== undefined && issuedMs < revocation.beforeMs;
  }

  #add(revocation: Revocation): void {
    const key = keyOf(revocation.user, revocation.sid);
    const known = this.#inForce.get(key);
    if (known !== undefined && known.beforeMs >= revocation.beforeMs) return;
    this.#inForce.set(key, revocation);
    for (const listener of this.#listeners) listener(revocation);
  }

  /** Only adds: one that is told while the store is being read is not in what was read. */
  async #load(): Promise<void> {
    const { store, retentionMs, logger } = this.#options;
    try {
      const before = new Map(this.#inForce);
      const stored = new Set<string>();
      for (const revocation of await store.load()) {
        stored.add(keyOf(revocation.user, revocation.sid));
        this.#add(revocation);
      }
      this.#loaded = true;
      const oldestMs = Date.now() - retentionMs;
      let returned = 0;
      for (const [key, revocation] of before) {
        if (revocation.beforeMs < oldestMs) this.#inForce.delete(key);
        else if (!stored.has(key) && returned++ < MAX_RETURNED) await store.revoke(revocation);
      }
      if (returned > 0)
        logger.warn({ revocations: returned }, "the store had lost revocations and was given them back");
    } catch (error) {
      logger.debug({ err: error }, "reading revocations failed, trying again");
    }
  }
}

/** Ids have no control characters. */
function keyOf(user: string, sid: string | undefined): string {
  return sid === undefined ? user : `${user}\n${sid}`;
}
