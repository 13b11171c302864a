/**
 * Makes a connection whole (M3, M4): from an offset, or from nothing, to this node's position, in rooms and live.
 *
 * Reading may take a while; the last step is synchronous: what arrived meanwhile is read from the ring, written, and the rooms
 * are joined before any other publication can come. A resume is whole only where the log proves it, by arithmetic; everything
 * else is told as a gap, before any later publication.
 */
import type { History, Logger, Meter, Sequencer } from "@carillon/core";
import { comparePositions, type Position, parseId } from "@carillon/protocol";
import type { Connection } from "./connection.ts";
import { entryFrame, gapFrameAt } from "./frames.ts";
import { Missed } from "./missed.ts";

export interface CatchUpOptions {
  readonly history: Pick<History, "scan" | "rest">;
  readonly sequencer: Pick<Sequencer, "position" | "reach">;
  readonly meter: Meter;
  readonly logger: Logger;
  /** What is held of missed publications for one connection before it is told a gap instead. */
  readonly maxBytes: number;
}

/** Where a connection starts from: nothing, an offset that it sent, or one that can't be used. */
export type StartingPoint = { readonly kind: "fresh" } | { readonly kind: "offset"; readonly position: Position } | { readonly kind: "unknown" };

/** How long a client that heard more elsewhere waits for this node. */
const AHEAD_TIMEOUT_MS = 5000;
const RETRY_MIN_MS = 100;
const RETRY_MAX_MS = 2000;

export class CatchUp {
  readonly #options: CatchUpOptions;

  constructor(options: CatchUpOptions) {
    this.#options = options;
  }

  /**
   * Calls `join` in the same synchronous step in which the connection becomes whole. Resolves with whether nothing was missed,
   * or `undefined` when the connection closed first.
   */
  async run(connection: Connection, from: StartingPoint, join: (recovered: boolean) => void): Promise<boolean | undefined> {
    for (let retryMs = RETRY_MIN_MS; isOpen(connection); retryMs = Math.min(retryMs * 2, RETRY_MAX_MS)) {
      try {
        return from.kind === "offset" ? await this.#resume(connection, from.position, join) : this.#start(connection, from, join);
      } catch (error) {
        // The log is out of reach: nothing is told meanwhile, and nothing is claimed.
        this.#options.logger.debug({ err: error, namespace: connection.style.namespace }, "catching up failed, trying again");
        await new Promise((resolve) => setTimeout(resolve, retryMs * (0.5 + Math.random() / 2)));
      }
    }
    return undefined;
  }

  #start(connection: Connection, from: StartingPoint, join: (recovered: boolean) => void): boolean {
    const here = this.#here();
    if (from.kind === "unknown") this.#tellGap(connection, here, "unknown_offset");
    this.#finish(connection, here, false, join);
    return false;
  }

  async #resume(connection: Connection, offset: Position, join: (recovered: boolean) => void): Promise<boolean | undefined> {
    const { sequencer, history, maxBytes } = this.#options;
    if (comparePositions(offset, this.#here()) > 0) await sequencer.reach(offset, AHEAD_TIMEOUT_MS);
    const missed = new Missed(connection, maxBytes);
    const { whole, reached } = await history.scan(offset, missed.visit);
    if (!isOpen(connection)) return undefined;
    // From here to the end without giving way to anything.
    const here = this.#here();
    const rest = history.rest(reached);
    if (rest !== undefined) missed.visit(rest);
    const recovered = whole && rest !== undefined && !missed.tooMuch;
    if (recovered) this.#write(connection, missed);
    else this.#tellGap(connection, here, whole ? "too_much" : offset.epoch === here.epoch ? "trimmed" : "epoch");
    this.#finish(connection, here, recovered, join);
    return recovered;
  }

  #write(connection: Connection, missed: Missed): void {
    for (const [entry, position] of missed.entries()) {
      if (connection.awaits(position)) connection.advance(entryFrame(connection.style, entry), position);
    }
    this.#options.meter.count("deliveries", missed.size, { kind: "catch_up" });
  }

  #tellGap(connection: Connection, here: Position, cause: string): void {
    connection.advance(gapFrameAt(connection.style, here), here);
    this.#options.meter.count("gapsTold", 1, { cause });
  }

  #finish(connection: Connection, here: Position, recovered: boolean, join: (recovered: boolean) => void): void {
    connection.moveTo(here);
    connection.state = "live";
    join(recovered);
  }

  #here(): Position {
    const here = this.#options.sequencer.position;
    if (here === undefined) throw new Error("a connection was let in before the node had a position");
    return here;
  }
}

/**
 * Stock clients send their last id with the `pid` that they got from us, other libraries the id alone. A `pid` alone means that
 * the client was connected before and heard nothing that it could name.
 */
export function startingPoint(auth: Readonly<Record<string, unknown>>): StartingPoint {
  if (auth.offset === undefined || auth.offset === null) return { kind: auth.pid === undefined || auth.pid === null ? "fresh" : "unknown" };
  const position = parseId(auth.offset);
  return position === undefined ? { kind: "unknown" } : { kind: "offset", position };
}

function isOpen(connection: Connection): boolean {
  return connection.state !== "closed";
}

