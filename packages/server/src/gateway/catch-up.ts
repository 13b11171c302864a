/**
 * Makes a connection whole: from an offset, or from nothing, to this node's position, in rooms and live.
 *
 * Reading may take a while; the last step is synchronous: what arrived meanwhile is read from the ring, written, and the rooms
 * are joined before any other publication can come. A resume is whole only where the log proves it, by arithmetic; everything
 * else is told as a gap, before any later publication.
 *
 * No more is written at a time than the high-water mark allows. The rest waits in the log until the client has read on.
 */
import type { History, Log, Logger, Meter, Sequencer } from "@carillon/core";
import {
  CarillonError,
  comparePositions,
  formatId,
  isGap,
  type LogEntry,
  type Position,
  parseId,
} from "@carillon/protocol";
import { hears } from "./audience.ts";
import type { Connection, StartingPoint } from "./connection.ts";
import { entryFrame, gapFrame } from "./frames.ts";
import type { Laggards } from "./laggards.ts";
import { type Held, Missed } from "./missed.ts";

export interface CatchUpOptions {
  readonly history: Pick<History, "scan" | "rest">;
  readonly log: Pick<Log, "head">;
  readonly sequencer: Pick<Sequencer, "position" | "reach">;
  readonly laggards: Pick<Laggards, "drained">;
  /** Whole milliseconds to spread the refetch over that refreshes on this channel (none: on all) ask for. */
  readonly spreadMs: (connection: Connection, channel?: string) => number | undefined;
  /** Whether everything after a position can be had without asking Redis. */
  readonly inMemory: (position: Position) => boolean;
  readonly highWaterMarkBytes: number;
  /** What is held of missed publications for one connection before it is told a gap instead. */
  readonly maxBytes: number;
  /** The same for all connections together. */
  readonly maxHeldBytes: number;
  readonly meter: Meter;
  readonly logger: Logger;
}

/** Called in the same synchronous step in which the connection becomes whole; with whether nothing was missed. */
type Join = (recovered: boolean) => void;

/** How long a client that heard more elsewhere waits for this node before it looks again whether such a position exists. */
const AHEAD_TIMEOUT_MS = 5000;
/** What is held for a client that reads slowly, in high-water marks: each costs a pass over the log. */
const WINDOW = 4;
const RETRY_MIN_MS = 100;
const RETRY_MAX_MS = 2000;

export class CatchUp {
  readonly #options: CatchUpOptions;
  readonly #held: Held;

  constructor(options: CatchUpOptions) {
    this.#options = options;
    this.#held = { bytes: 0, maxBytes: options.maxHeldBytes };
  }

  /** Resolves with whether nothing was missed, or `undefined` when the connection closed first. */
  async run(connection: Connection, from: StartingPoint, join: Join): Promise<boolean | undefined> {
    if (from.kind !== "offset") return this.#start(connection, from, join);
    let { position } = from;
    let recovered = true;
    let retryMs = RETRY_MIN_MS;
    while (connection.isOpen) {
      try {
        const step = await this.#resume(connection, position, (repaired) => join(recovered && repaired));
        recovered &&= step.repaired;
        if (step.done) return recovered;
        position = connection.position;
        retryMs = RETRY_MIN_MS;
      } catch (error) {
        if (!(error instanceof CarillonError)) throw error;
        // The log is out of reach: nothing is told meanwhile, and nothing is claimed.
        this.#options.logger.debug(
          { err: error, namespace: connection.style.namespace },
          "catching up failed, trying again",
        );
        await new Promise((resolve) => setTimeout(resolve, retryMs * (0.5 + Math.random() / 2)));
        retryMs = Math.min(retryMs * 2, RETRY_MAX_MS);
      }
    }
    return undefined;
  }

  #start(connection: Connection, from: StartingPoint, join: Join): boolean {
    const here = this.#here();
    if (from.kind === "unknown") this.#tellGap(connection, here, from.cause);
    finish(connection, here, false, join);
    return false;
  }

  /** Not done: the client must read first what was written, or has gone. */
  async #resume(
    connection: Connection,
    offset: Position,
    join: Join,
  ): Promise<{ readonly done: boolean; readonly repaired: boolean }> {
    const { history, inMemory, maxBytes } = this.#options;
    const exists = await this.#reached(connection, offset);
    const missed = new Missed(connection, maxBytes, this.#held);
    try {
      // What is in memory comes from there below, in one step: waiting here, all who come at once would count as held for.
      const { whole, reached } =
        exists && !inMemory(offset) ? await history.scan(offset, missed.visit) : { whole: exists, reached: offset };
      if (!connection.isOpen) return { done: false, repaired: false };
      // From here to the end without giving way to anything.
      const here = this.#here();
      const rest = history.rest(reached);
      if (rest !== undefined) missed.visit(rest);
      const repaired = whole && rest !== undefined && !missed.tooMuch;
      if (!repaired) this.#tellGap(connection, here, missed.tooMuch ? "too_much" : causeOf(offset, here));
      const nothingMissing = repaired && !missed.hasGap;
      if (repaired && !this.#write(connection, missed)) {
        await this.#writeOn(connection, missed);
        return { done: false, repaired: nothingMissing };
      }
      finish(connection, here, nothingMissing, join);
      return { done: true, repaired: nothingMissing };
    } finally {
      missed.release();
    }
  }

  /**
   * Whether this node has come as far as `offset`. A client that heard more elsewhere waits, since this node would tell it the
   * same again; one that names what never was, or what a failover lost, does not.
   */
  async #reached(connection: Connection, offset: Position): Promise<boolean> {
    const { sequencer, log } = this.#options;
    while (connection.isOpen && comparePositions(offset, this.#here()) > 0) {
      if (comparePositions(offset, await log.head()) > 0) return false;
      await sequencer.reach(offset, AHEAD_TIMEOUT_MS);
    }
    return true;
  }

  /** As the client reads; what is far ahead of it is let go of and read again. */
  async #writeOn(connection: Connection, missed: Missed): Promise<void> {
    const { inMemory, highWaterMarkBytes, laggards } = this.#options;
    missed.keep(connection, inMemory(connection.position) ? 0 : WINDOW * highWaterMarkBytes);
    do await laggards.drained(connection);
    while (connection.isOpen && !this.#write(connection, missed));
  }

  /** False when the client must read first: its position is that of the last event written. */
  #write(connection: Connection, missed: Missed): boolean {
    const { highWaterMarkBytes, meter } = this.#options;
    let written = 0;
    let all = true;
    for (const [entry, position] of missed.entries()) {
      // Judged again: since it was found the connection may have lost the right to it.
      if (!connection.awaits(position, isGap(entry) ? undefined : entry.channel) || !hears(connection, entry)) continue;
      if (connection.transport.unsentBytes > highWaterMarkBytes) {
        all = false;
        break;
      }
      connection.advance(
        entryFrame(connection.style, entry, { spreadMs: this.#spreadMs(connection, entry) }),
        position,
      );
      written++;
    }
    meter.count("deliveries", written, { kind: "catch_up" });
    return all;
  }

  #spreadMs(connection: Connection, entry: LogEntry): number | undefined {
    if (isGap(entry)) return this.#options.spreadMs(connection);
    return entry.scope === undefined ? undefined : this.#options.spreadMs(connection, entry.channel);
  }

  #tellGap(connection: Connection, here: Position, cause: string): void {
    connection.advance(gapFrame(connection.style, undefined, formatId(here), this.#options.spreadMs(connection)), here);
    this.#options.meter.count("gapsTold", 1, { cause });
  }

  #here(): Position {
    const here = this.#options.sequencer.position;
    if (here === undefined) throw new CarillonError("NOT_READY");
    return here;
  }
}

/**
 * Stock clients send their last id with the `pid` that they got from us, other libraries the id alone. A `pid` alone means that
 * the client was connected before and heard nothing that it could name.
 */
export function startingPoint(auth: Readonly<Record<string, unknown>>): StartingPoint {
  if (auth.offset === undefined || auth.offset === null) {
    return auth.pid === undefined || auth.pid === null
      ? { kind: "fresh" }
      : { kind: "unknown", cause: "unknown_offset" };
  }
  const position = parseId(auth.offset);
  return position === undefined ? { kind: "unknown", cause: "unknown_offset" } : { kind: "offset", position };
}

function finish(connection: Connection, here: Position, recovered: boolean, join: Join): void {
  connection.moveTo(here);
  connection.state = "live";
  join(recovered);
}

function causeOf(offset: Position, here: Position): string {
  if (offset.epoch !== here.epoch) return "epoch";
  return offset.n > here.n ? "unknown_offset" : "trimmed";
}
