import type { Presence, PresenceChange, PresentClient, PresentElsewhere, Roster } from "../ports.ts";

/** Presence of a single node. */
export class MemoryPresence implements Presence {
  readonly leaseMs: number = 0;
  readonly #node: string;
  readonly #users = new Map<string, readonly PresentClient[]>();

  constructor(node: string) {
    this.#node = node;
  }

  async beat(): Promise<boolean> {
    return true;
  }

  async put(changes: ReadonlyMap<string, readonly PresentClient[] | undefined>): Promise<PresenceChange> {
    const came: string[] = [];
    const left: string[] = [];
    for (const [user, clients] of changes) {
      if (clients === undefined) {
        if (this.#users.delete(user)) left.push(user);
      } else {
        if (!this.#users.has(user)) came.push(user);
        this.#users.set(user, clients);
      }
    }
    return { came, left };
  }

  async sweep(): Promise<readonly string[]> {
    return [];
  }

  async leave(): Promise<readonly string[]> {
    const left = [...this.#users.keys()];
    this.#users.clear();
    return left;
  }

  async read(users: readonly string[]): Promise<ReadonlyMap<string, readonly PresentElsewhere[]>> {
    const found = new Map<string, readonly PresentElsewhere[]>();
    for (const user of users) {
      const clients = this.#users.get(user) ?? [];
      if (clients.length > 0)
        found.set(
          user,
          clients.map((client) => ({ ...client, node: this.#node })),
        );
    }
    return found;
  }
}

/** A single node knows of itself. */
export class MemoryRoster implements Roster {
  readonly lifetimeMs = Number.POSITIVE_INFINITY;
  #record: string | undefined;

  async say(record: string): Promise<void> {
    this.#record = record;
  }

  async all(): Promise<readonly string[]> {
    return this.#record === undefined ? [] : [this.#record];
  }

  async leave(): Promise<void> {
    this.#record = undefined;
  }
}
