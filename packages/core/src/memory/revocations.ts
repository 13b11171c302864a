import type { Revocation, Revocations } from "../revocations.ts";

const MAX = 100_000;

/** Revocations of a single node without Redis: gone with it, like everything that its connections had. */
export class MemoryRevocations implements Revocations {
  readonly #retentionMs: number;
  readonly #all = new Map<string, Revocation>();
  readonly #listeners: ((revocation: Revocation) => void)[] = [];

  constructor(retentionMs: number) {
    this.#retentionMs = retentionMs;
  }

  async revoke(revocation: Revocation): Promise<void> {
    const key = JSON.stringify([revocation.user, revocation.sid]);
    const known = this.#all.get(key);
    if (known === undefined || known.beforeMs < revocation.beforeMs) {
      this.#all.delete(key); // so that the oldest come first
      this.#all.set(key, revocation);
    }
    if (this.#all.size > MAX) this.#all.delete(this.#all.keys().next().value!);
    for (const listener of this.#listeners) listener(revocation);
  }

  async load(): Promise<readonly Revocation[]> {
    const oldestMs = Date.now() - this.#retentionMs;
    for (const [key, { beforeMs }] of this.#all) if (beforeMs < oldestMs) this.#all.delete(key);
    return [...this.#all.values()];
  }

  onRevoked(listener: (revocation: Revocation) => void): void {
    this.#listeners.push(listener);
  }
}
