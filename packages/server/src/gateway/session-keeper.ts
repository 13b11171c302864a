/**
 * Session records: what gives a client its rooms and subscriptions back on any node after its own was killed.
 *
 * Every connection has one, also with nothing in it: so a session id without a record is one that expired or never was, and its
 * client is told a gap instead of a "recovered" that silently lost its rooms. A record is in the store before the client hears
 * that it joined or subscribed; it is kept alive while the connection lives and for the log's retention after.
 */
import type { Logger, SessionRecord, Sessions } from "@carillon/core";
import { comparePositions, formatId, type Position, parseId } from "@carillon/protocol";
import type { Policy } from "../auth/principal.ts";
import type { Connection } from "./connection.ts";

export interface SessionKeeperOptions {
  readonly sessions: Sessions;
  readonly policy: Policy;
  /** Up to where nothing is still to be written to a connection. */
  readonly settled: (connection: Connection) => Position;
  readonly logger: Logger;
  readonly retentionMs: number;
  /** About how many entries the log keeps. */
  readonly logMaxEntries: number;
}

interface Kept {
  readonly connection: Connection;
  saved: boolean;
  /** `quiet` as it was saved last. */
  upTo: Position;
}

const RETRY_MS = 500;
const BATCH = 500;
/** Records MUST live this much longer in the store than the log's retention. */
const SWEEP_MAX_MS = 30_000;
/** Longer than the ids that Socket.IO makes. */
const MAX_PID_LENGTH = 64;

export class SessionKeeper {
  readonly #options: SessionKeeperOptions;
  readonly #kept = new Map<string, Kept>();
  readonly #saving = new Map<Connection, Promise<void>>();
  readonly #timer: NodeJS.Timeout;
  #sweeping = false;

  constructor(options: SessionKeeperOptions) {
    this.#options = options;
    this.#timer = setInterval(
      () => void this.#sweep(),
      Math.min(Math.max(options.retentionMs / 3, 1000), SWEEP_MAX_MS),
    );
    this.#timer.unref();
  }

  stop(): void {
    clearInterval(this.#timer);
  }

  /** The store may have lost every record: they are written anew, at a pace, for those who have theirs to lose. */
  renew(): void {
    void this.#sweep();
  }

  /** What the client had under `pid`, cut down to what it may have now. Waits for the store while the client does. */
  async restore(connection: Connection, pid: unknown): Promise<SessionRecord | undefined> {
    if (typeof pid !== "string" || pid.length === 0 || pid.length > MAX_PID_LENGTH) return undefined;
    const record = await this.#load(connection, pid);
    const { principal, style } = connection;
    if (record === undefined || record.sub !== (principal.user ?? "") || record.namespace !== style.namespace)
      return undefined;
    const { policy } = this.#options;
    return {
      ...record,
      channels: record.channels.filter((channel) => policy.mayHear(principal, channel)),
      rooms: record.rooms.filter(([channel, room]) => policy.mayJoin(principal, channel, room)),
    };
  }

  /**
   * The record of a client that came back, as it was, under the connection's own session id. MUST be awaited before the client
   * learns that id: it may be cut off the next moment, and then it comes back with it. Throws `BUS_UNAVAILABLE`.
   */
  inherit(connection: Connection, record: SessionRecord): Promise<void> {
    return this.#write(connection, record, { epoch: 0, n: 0 });
  }

  /** What a client finds that comes back once more under the session id that it came with. Throws `BUS_UNAVAILABLE`. */
  replace(pid: string, record: SessionRecord): Promise<void> {
    return this.#options.sessions.save(pid, record);
  }

  /** From now on the connection's record is kept. Does not wait for the store: until it is there, coming back costs a told gap. */
  keep(connection: Connection): void {
    if (connection.state === "closed") return;
    this.save(connection).catch((error: unknown) =>
      this.#options.logger.debug({ err: error }, "saving a session record failed, trying again later"),
    );
  }

  /** Resolves once the connection's rooms and subscriptions as they are now would survive this node. Throws `BUS_UNAVAILABLE`. */
  save(connection: Connection, withoutChannel?: string): Promise<void> {
    // As it is now: what it was entitled to must fit to how far it is.
    const upTo = this.#options.settled(connection);
    return this.#write(connection, recordOf(connection, upTo, withoutChannel), upTo);
  }

  /** The client has gone, and may come back. */
  forget(connection: Connection): void {
    const pid = privateId(connection);
    const kept = pid === undefined ? undefined : this.#kept.get(pid);
    if (pid === undefined || kept === undefined) return;
    if (this.#isStale(kept)) this.save(connection).catch(() => {});
    this.#kept.delete(pid);
  }

  /** One after another, so that an older record never overwrites a newer one. */
  async #write(connection: Connection, record: SessionRecord, upTo: Position): Promise<void> {
    const kept = this.#entry(connection);
    const pid = privateId(connection);
    if (kept === undefined || pid === undefined) return;
    const before = this.#saving.get(connection) ?? Promise.resolve();
    const saving = before
      .catch(() => {})
      .then(async () => {
        await this.#options.sessions.save(pid, record);
        kept.saved = true;
        kept.upTo = upTo;
      });
    this.#saving.set(connection, saving);
    try {
      await saving;
    } finally {
      if (this.#saving.get(connection) === saving) this.#saving.delete(connection);
    }
  }

  #entry(connection: Connection): Kept | undefined {
    const pid = privateId(connection);
    if (pid === undefined) return undefined;
    let kept = this.#kept.get(pid);
    if (kept === undefined) {
      kept = { connection, saved: false, upTo: { epoch: 0, n: 0 } };
      // What is asked for after the end is written once and kept alive no longer.
      if (connection.state !== "closed") this.#kept.set(pid, kept);
    }
    return kept;
  }

  async #load(connection: Connection, pid: string): Promise<SessionRecord | undefined> {
    while (connection.state !== "closed") {
      try {
        return await this.#options.sessions.load(pid);
      } catch (error) {
        this.#options.logger.debug({ err: error }, "loading a session record failed, trying again");
        await new Promise((resolve) => setTimeout(resolve, RETRY_MS));
      }
    }
    return undefined;
  }

  /** The log moved on so far that what is saved of the connection's position may soon be out of its reach. */
  #isStale({ connection, saved, upTo }: Kept): boolean {
    // Until it is whole, the record that it inherited says what its client has not been told.
    if (connection.state === "joining") return false;
    if (!saved || [...connection.replays.values()].some(({ mark }) => connection.transport.arrived(mark))) return true;
    const now = this.#options.settled(connection);
    return now.epoch !== upTo.epoch || now.n - upTo.n > this.#options.logMaxEntries / 16;
  }

  async #sweep(): Promise<void> {
    if (this.#sweeping) return;
    this.#sweeping = true;
    try {
      const all = [...this.#kept];
      for (let i = 0; i < all.length; i += BATCH) await this.#refresh(all.slice(i, i + BATCH));
    } catch (error) {
      this.#options.logger.warn({ err: error }, "keeping session records alive failed, trying again later");
    } finally {
      this.#sweeping = false;
    }
  }

  /** A record that was not found any more is written anew. */
  async #refresh(batch: readonly (readonly [string, Kept])[]): Promise<void> {
    const stale = batch.filter(([, kept]) => this.#isStale(kept));
    const fresh = batch.filter(([, kept]) => !this.#isStale(kept)).map(([pid]) => pid);
    await Promise.all([
      ...stale
        .filter(([, { connection }]) => connection.state !== "closed")
        .map(([, { connection }]) => this.save(connection)),
      ...(fresh.length > 0 ? [this.#options.sessions.touch(fresh)] : []),
    ]);
  }
}

/** Where the log must be read from for a client that comes back with `offset`. */
export function provenPosition(record: SessionRecord | undefined, offset: Position): Position {
  let proven = offset;
  for (const [heard, upTo] of record?.quiet ?? []) {
    const position = parseId(upTo);
    if (heard !== formatId(offset) || position?.epoch !== offset.epoch) continue;
    if (position.n > proven.n) proven = position;
  }
  return proven;
}

/** Whether the client came back without having heard that it lost its session before. */
export function isBelowFloor({ floor }: SessionRecord, offset: Position): boolean {
  const position = parseId(floor);
  return position !== undefined && comparePositions(offset, position) < 0;
}

/** Replays that a cut may have hit: the client heard nothing after them that would prove their arrival. */
export function cutReplays(record: SessionRecord, offset: Position): string[] {
  return record.replays
    .filter(([channel, id]) => {
      const at = parseId(id);
      return record.channels.includes(channel) && (at === undefined || at.epoch !== offset.epoch || at.n >= offset.n);
    })
    .map(([channel]) => channel);
}

/** What Socket.IO gave the client to come back with. */
function privateId(connection: Connection): string | undefined {
  return (connection.socket as unknown as { readonly pid?: string }).pid;
}

function recordOf(connection: Connection, upTo: Position, withoutChannel: string | undefined): SessionRecord {
  const { principal, style, channels, rooms, replays, told, quiet, floor, transport } = connection;
  for (const [on, { mark }] of replays) if (transport.arrived(mark)) connection.removeReplay(on);
  const names = new Set(channels.keys());
  if (withoutChannel !== undefined) names.delete(withoutChannel);
  const starts = [...channels].flatMap(([on, { from, replayed }]) =>
    replayed === true && from !== undefined && names.has(on) ? [[on, formatId(from)] as const] : [],
  );
  const stretches = quiet === undefined ? [] : [quiet];
  if (told !== undefined && told.epoch === upTo.epoch && told.n < upTo.n) stretches.push({ heard: told, upTo });
  return {
    sub: principal.user ?? "",
    namespace: style.namespace,
    channels: [...names],
    rooms: [...rooms].flatMap(([on, inside]) => [...inside].map((room) => [on, room] as const)),
    replays: [...replays].filter(([on]) => names.has(on)).map(([on, { at }]) => [on, formatId(at)] as const),
    ...(starts.length > 0 && { starts }),
    quiet: stretches.map(({ heard, upTo: end }) => [formatId(heard), formatId(end)] as const),
    ...(floor !== undefined && { floor: formatId(floor) }),
  };
}
