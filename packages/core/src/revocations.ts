/**
 * Tokens that are refused although they have not expired: those of a user, or of one of their sessions, issued before a moment.
 *
 * A revocation is stored, told to every node, and read again and again: a node that missed the telling, or was cut off, is healed
 * by the next reading. Checks are local and cost nothing.
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
  /** Resolves once it would survive this node, and tells the others. Throws `BUS_UNAVAILABLE`. */
  revoke(revocation: Revocation): Promise<void>;
  /** All that are in force. */
  load(): Promise<readonly Revocation[]>;
  onRevoked(listener: (revocation: Revocation) => void): void;
}

export interface RevocationListOptions {
  readonly store: Revocations;
  readonly logger: Logger;
  /** How often the store is read: the bound for a node that missed one. */
  readonly readEveryMs?: number;
}

export class RevocationList {
  readonly #options: RevocationListOptions;
  readonly #listeners: ((revocation: Revocation) => void)[] = [];
  #inForce = new Map<string, Revocation>();
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
    this.#timer = setInterval(() => void this.#read(), this.#options.readEveryMs ?? 5000);
    void this.#read();
  }

  stop(): void {
    clearInterval(this.#timer);
  }

  onRevoked(listener: (revocation: Revocation) => void): void {
    this.#listeners.push(listener);
  }

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

  #read(): Promise<void> {
    this.#reading ??= this.#load().finally(() => {
      this.#reading = undefined;
    });
    return this.#reading;
  }

  async #load(): Promise<void> {
    try {
      const all = await this.#options.store.load();
      const before = this.#inForce;
      this.#inForce = new Map(all.map((revocation) => [keyOf(revocation.user, revocation.sid), revocation]));
      this.#loaded = true;
      for (const [key, revocation] of this.#inForce) {
        if ((before.get(key)?.beforeMs ?? 0) < revocation.beforeMs)
          for (const listener of this.#listeners) listener(revocation);
      }
    } catch (error) {
      this.#options.logger.debug({ err: error }, "reading revocations failed, trying again");
    }
  }
}

/** Ids have no control characters. */
function keyOf(user: string, sid: string | undefined): string {
  return sid === undefined ? user : `${user}\n${sid}`;
}
