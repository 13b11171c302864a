/**
 * Keeps the cluster's `Presence` up to date with the clients of this node.
 *
 * Connections change a map and nothing else; every quarter of a second what changed is put, many users in a call, and every two
 * seconds one call says that this node lives. So a user who stays costs nothing, and whatever was not put because the store was
 * away is put when it is back. A user whose last client went is kept for a moment: whoever reloads a page, or is moved to
 * another node, has not left.
 */
import type { Logger } from "./logger.ts";
import type { Meter } from "./metrics.ts";
import type { Presence, PresenceChange, PresentClient } from "./ports.ts";

export interface PresenceTrackerOptions {
  readonly presence: Presence;
  readonly meter: Meter;
  readonly logger: Logger;
  /** How long after the last client a user may come back without having left. Default 5,000. */
  readonly graceMs?: number;
  /** Default 250. */
  readonly putEveryMs?: number;
  /** Default 2,000. */
  readonly beatEveryMs?: number;
}

interface Client {
  connections: number;
  installationId: string | undefined;
  foreground: boolean | undefined;
  readonly sinceMs: number;
}

const PAGE = 200;
/** Of one user on one node; more are counted and not shown. */
const MAX_CLIENTS = 100;

export class PresenceTracker {
  readonly #options: Required<PresenceTrackerOptions>;
  /** Clients by user, each by an object that stands for it. */
  readonly #users = new Map<string, Map<object, Client>>();
  readonly #changed = new Set<string>();
  /** Users without a client by the time at which they have left; soonest first. */
  readonly #leaving = new Map<string, number>();
  #timer: NodeJS.Timeout | undefined;
  #working: Promise<void> = Promise.resolve();
  #beatAt = Number.NEGATIVE_INFINITY;
  /** Since when the store answers without a break. */
  #steadySince: number | undefined;
  #stopped = false;

  constructor(options: PresenceTrackerOptions) {
    this.#options = { graceMs: 5000, putEveryMs: 250, beatEveryMs: 2000, ...options };
  }

  start(): void {
    this.#timer = setTimeout(() => {
      this.#working = this.#work().finally(() => {
        if (!this.#stopped) this.start();
      });
    }, this.#options.putEveryMs);
  }

  /** This node goes, and its clients with it. Rejects when the store can't be told; then the others find out in time. */
  async stop(): Promise<void> {
    this.#stopped = true;
    clearTimeout(this.#timer);
    await this.#working;
    const { presence, graceMs } = this.#options;
    for (const user of this.#users.keys()) this.#changed.add(user);
    for (const clients of this.#users.values()) clients.clear();
    await this.#put();
    this.#tellLeft(await presence.leave(graceMs), "left");
  }

  /** One more connection of a client, which `client` stands for, whatever it is, with what is known of it. */
  connected(
    user: string,
    client: object,
    { installationId, foreground }: Partial<Omit<PresentClient, "sinceMs">>,
  ): void {
    const clients = this.#users.get(user) ?? new Map<object, Client>();
    this.#users.set(user, clients);
    this.#leaving.delete(user);
    const known = clients.get(client);
    if (known === undefined) {
      clients.set(client, { connections: 1, installationId, foreground, sinceMs: Date.now() });
    } else {
      known.connections++;
      if (installationId === undefined || installationId === known.installationId) return;
      known.installationId = installationId;
    }
    this.#changed.add(user);
  }

  /** One less. Unknown ones are no matter. */
  disconnected(user: string, client: object): void {
    const clients = this.#users.get(user);
    const known = clients?.get(client);
    if (clients === undefined || known === undefined || --known.connections > 0) return;
    clients.delete(client);
    this.#changed.add(user);
    if (clients.size === 0) this.#leaving.set(user, performance.now() + this.#options.graceMs);
  }

  /** The client says whether somebody looks at it. */
  said(user: string, client: object, foreground: boolean): void {
    const known = this.#users.get(user)?.get(client);
    if (known === undefined || known.foreground === foreground) return;
    known.foreground = foreground;
    this.#changed.add(user);
  }

  /** Users with a client here. */
  get users(): number {
    return this.#users.size - this.#leaving.size;
  }

  /** One after another, never two at a time. Never rejects. */
  async #work(): Promise<void> {
    const { presence, beatEveryMs, meter, logger } = this.#options;
    this.#endLeaving();
    meter.set("presenceUsers", this.users);
    try {
      const beats = performance.now() - this.#beatAt >= beatEveryMs;
      if (beats) await this.#beat();
      await this.#put();
      if (beats && this.#maySweep()) this.#tellLeft(await presence.sweep(), "node_lost");
    } catch (error) {
      this.#steadySince = undefined;
      logger.debug({ err: error }, "presence could not be put, trying again");
    }
  }

  #endLeaving(): void {
    const now = performance.now();
    for (const [user, at] of this.#leaving) {
      if (at > now) return;
      this.#leaving.delete(user);
      this.#users.delete(user);
      this.#changed.add(user);
    }
  }

  async #beat(): Promise<void> {
    const known = await this.#options.presence.beat();
    this.#beatAt = performance.now();
    this.#steadySince ??= this.#beatAt;
    if (known) return;
    if (this.#users.size > 0) this.#options.meter.count("presenceRebuilds");
    for (const user of this.#users.keys()) this.#changed.add(user);
  }

  /** When the store comes back nobody has said for a while that they live: first they all get their chance. */
  #maySweep(): boolean {
    return this.#steadySince !== undefined && performance.now() - this.#steadySince >= this.#options.presence.leaseMs;
  }

  async #put(): Promise<void> {
    while (this.#changed.size > 0) {
      const page = [...this.#changed.values().take(PAGE)];
      // What changes during the call is put by the next one.
      for (const user of page) this.#changed.delete(user);
      const change = await this.#putPage(page);
      if (change === undefined) {
        this.#beatAt = Number.NEGATIVE_INFINITY; // which brings it in order, the next time
        return;
      }
      this.#options.meter.count("presenceJoins", change.came.length);
      this.#tellLeft(change.left, "left");
    }
  }

  async #putPage(page: readonly string[]): Promise<PresenceChange | undefined> {
    let change: PresenceChange | undefined;
    try {
      change = await this.#options.presence.put(new Map(page.map((user) => [user, this.#recordOf(user)])));
    } finally {
      if (change === undefined) for (const user of page) this.#changed.add(user);
    }
    return change;
  }

  #recordOf(user: string): PresentClient[] | undefined {
    const clients = this.#users.get(user);
    if (clients === undefined) return undefined;
    const all = [...clients.values()].map(({ installationId, foreground, sinceMs }) => ({
      ...(installationId !== undefined && { installationId }),
      foreground,
      sinceMs,
    }));
    if (all.length <= MAX_CLIENTS) return all;
    this.#options.meter.count("drops", 1, { reason: "presence_clients" });
    return all.toSorted((a, b) => Number(b.foreground ?? false) - Number(a.foreground ?? false)).slice(0, MAX_CLIENTS);
  }

  #tellLeft(users: readonly string[], cause: "left" | "node_lost"): void {
    const { meter, logger } = this.#options;
    meter.count("presenceLeaves", users.length, { cause });
    for (const user of users) logger.info({ user, cause }, "a user left");
  }
}
