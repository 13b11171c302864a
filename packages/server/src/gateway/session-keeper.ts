/**
 * Session records (M5): what gives a client its rooms and subscriptions back on any node after its own was killed. A record is
 * in the store before the client hears that it joined; it is kept alive while the connection lives.
 */
import type { Logger, SessionRecord, Sessions } from "@carillon/core";
import { formatId, parseId } from "@carillon/protocol";
import type { Policy } from "../auth/principal.ts";
import type { Connection } from "./connection.ts";

export interface SessionKeeperOptions {
  readonly sessions: Sessions;
  readonly policy: Policy;
  readonly logger: Logger;
  readonly retentionMs: number;
}

const RETRY_MS = 500;
const TOUCH_BATCH = 1000;

export class SessionKeeper {
  readonly #options: SessionKeeperOptions;
  /** Private session ids of live connections that have something to come back to. */
  readonly #kept = new Map<string, Connection>();
  readonly #saving = new Map<Connection, Promise<void>>();
  readonly #timer: NodeJS.Timeout;

  constructor(options: SessionKeeperOptions) {
    this.#options = options;
    this.#timer = setInterval(() => void this.#touch(), Math.max(options.retentionMs / 3, 1000));
    this.#timer.unref();
  }

  stop(): void {
    clearInterval(this.#timer);
  }

  /** What the client had under `pid`, cut down to what it may have now. Waits for the store while the client does. */
  async restore(connection: Connection, pid: unknown): Promise<SessionRecord | undefined> {
    if (typeof pid !== "string" || pid.length > 64) return undefined;
    const record = await this.#load(connection, pid);
    const { principal, style } = connection;
    if (record === undefined || record.sub !== (principal.user ?? "") || record.namespace !== style.namespace) return undefined;
    const { policy } = this.#options;
    return {
      ...record,
      channels: record.channels.filter((channel) => policy.mayHear(principal, channel)),
      rooms: record.rooms.filter(([channel, room]) => policy.mayJoin(principal, channel, room)),
    };
  }

  /** Resolves once the connection's rooms and subscriptions as they are now would survive this node. Throws `BUS_UNAVAILABLE`. */
  async save(connection: Connection): Promise<void> {
    const pid = privateId(connection);
    if (pid === undefined) return;
    // One after another, so that an older record never overwrites a newer one.
    const before = this.#saving.get(connection) ?? Promise.resolve();
    const saving = before.catch(() => {}).then(() => this.#options.sessions.save(pid, recordOf(connection)));
    this.#saving.set(connection, saving);
    this.#kept.set(pid, connection);
    try {
      await saving;
    } finally {
      if (this.#saving.get(connection) === saving) this.#saving.delete(connection);
    }
  }

  forget(connection: Connection): void {
    const pid = privateId(connection);
    if (pid !== undefined) this.#kept.delete(pid);
  }

  async #load(connection: Connection, pid: string): Promise<SessionRecord | undefined> {
    for (;;) {
      try {
        return await this.#options.sessions.load(pid);
      } catch (error) {
        if (connection.state === "closed") return undefined;
        this.#options.logger.debug({ err: error }, "loading a session record failed, trying again");
        await new Promise((resolve) => setTimeout(resolve, RETRY_MS));
      }
    }
  }

  async #touch(): Promise<void> {
    const pids = [...this.#kept.keys()];
    for (let i = 0; i < pids.length; i += TOUCH_BATCH) {
      try {
        await this.#options.sessions.touch(pids.slice(i, i + TOUCH_BATCH));
      } catch (error) {
        this.#options.logger.warn({ err: error }, "keeping session records alive failed, trying again later");
      }
    }
  }
}

/** What Socket.IO gave the client to come back with. */
function privateId(connection: Connection): string | undefined {
  return (connection.socket as unknown as { readonly pid?: string }).pid;
}

function recordOf({ principal, style, channels, rooms, replays }: Connection): SessionRecord {
  return {
    sub: principal.user ?? "",
    namespace: style.namespace,
    channels: [...channels.keys()],
    rooms: [...rooms].flatMap(([channel, names]) => [...names].map((room) => [channel, room] as const)),
    replays: [...replays].map(([channel, position]) => [channel, formatId(position)] as const),
  };
}

/** Replays that a cut may have hit: the client heard nothing after them that would prove their arrival. */
export function cutReplays(record: SessionRecord, offset: { readonly epoch: number; readonly n: number }): string[] {
  return record.replays
    .filter(([channel, id]) => {
      const at = parseId(id);
      return record.channels.includes(channel) && (at === undefined || at.epoch !== offset.epoch || at.n >= offset.n);
    })
    .map(([channel]) => channel);
}
