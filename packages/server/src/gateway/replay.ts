/**
 * The start of a subscription: from here on, or with what its channel had since an id that the client names.
 *
 * A replay is older than what the connection already heard, so each of its events has its id in the first argument while the
 * trailing id stays the connection's position.
 */
import { concerns, type History, type Log, type Meter, type Sequencer } from "@carillon/core";
import {
  type Ack,
  CarillonError,
  comparePositions,
  formatId,
  isGap,
  type LogEntry,
  type Position,
  type Publication,
} from "@carillon/protocol";
import { hearsOn } from "./audience.ts";
import type { Connection } from "./connection.ts";
import { entryFrame, gapFrame } from "./frames.ts";
import { sizeOf } from "./missed.ts";

export interface ReplayOptions {
  readonly history: Pick<History, "scan" | "rest">;
  readonly log: Pick<Log, "head">;
  readonly sequencer: Pick<Sequencer, "position" | "reach">;
  /** The id that may trail an event on a connection: nothing at or below it is still to be written there. */
  readonly settled: (connection: Connection) => Position;
  readonly spreadMs: (connection: Connection, channel?: string) => number | undefined;
  readonly meter: Meter;
  /** Longer replays are told as a gap. */
  readonly maxBytes: number;
}

export interface Since {
  /** `undefined` when the id is none of ours. */
  readonly position: Position | undefined;
}

/** What the client is told in the ack, where the live path goes on, and the id that trailed the events of the replay. */
export interface Started {
  readonly recovered: boolean;
  readonly from: Position;
  readonly trailing: Position;
}

const AHEAD_TIMEOUT_MS = 5000;

export class Replay {
  readonly #options: ReplayOptions;

  constructor(options: ReplayOptions) {
    this.#options = options;
  }

  /** The position up to which nothing is still to be written to `connection`. */
  settled(connection: Connection): Position {
    return this.#options.settled(connection);
  }

  /** Whether anything was for a room of a channel after `since`, as far as that can be told. */
  async mayHaveMissed(channel: string, room: string, since: Position): Promise<boolean> {
    let found = false;
    const visit = (entries: readonly LogEntry[]) => {
      found ||= entries.some((entry) =>
        isGap(entry) ? concerns(entry.gap.channels, channel) : entry.channel === channel && isFor(entry, room),
      );
    };
    try {
      return !(await this.#options.history.scan(since, visit)).whole || found;
    } catch (error) {
      if (error instanceof CarillonError) return true;
      throw error;
    }
  }

  /**
   * Acks, writes what was missed and joins in one synchronous step, so that nothing falls between. `undefined` when the connection
   * closed first. Throws `BUS_UNAVAILABLE`, and `FORBIDDEN` when a renewed token took the subscription away meanwhile (`isHeld`).
   */
  async run(
    connection: Connection,
    channel: string,
    since: Since | undefined,
    ack: (answer: Ack) => void,
    join: (started: Started) => void,
    isHeld: () => boolean = () => true,
  ): Promise<Started | undefined> {
    for (;;) {
      // Behind, it would hear what follows its position by catching up, and again by the replay.
      await connection.whole;
      if (connection.state === "closed") return undefined;
      const missed = since === undefined ? undefined : await this.#collect(connection, channel, since.position);
      if (connection.state === "live") {
        // From here to the end without giving way to anything.
        if (!isHeld()) throw new CarillonError("FORBIDDEN");
        missed?.finish();
        return this.#begin(connection, channel, since, missed, ack, join);
      }
    }
  }

  #begin(
    connection: Connection,
    channel: string,
    since: Since | undefined,
    missed: Collected | undefined,
    ack: (answer: Ack) => void,
    join: (started: Started) => void,
  ): Started {
    const whole = missed?.whole === true;
    const trailing = this.#options.settled(connection);
    const started: Started = {
      recovered: whole && !missed.entries.some(isGap),
      from: this.#options.sequencer.position ?? trailing,
      trailing,
    };
    const id = whole && since?.position !== undefined ? since.position : started.from;
    ack({ ok: true, channel, id: formatId(id), recovered: started.recovered });
    if (since !== undefined) this.#write(connection, channel, whole ? missed.entries : undefined, trailing);
    join(started);
    return started;
  }

  async #collect(connection: Connection, channel: string, since: Position | undefined): Promise<Collected> {
    const { history, maxBytes } = this.#options;
    const entries: LogEntry[] = [];
    let bytes = 0;
    const visit = (found: readonly LogEntry[]) => {
      for (const entry of found) {
        if (bytes > maxBytes) return;
        if (!hearsOn(connection, channel, entry)) continue;
        entries.push(entry);
        bytes += sizeOf(entry);
      }
    };
    const collected = { entries, whole: false, finish: () => {} };
    if (since === undefined || !(await this.#exists(connection, since))) return collected;
    const scan = await history.scan(since, visit);
    collected.finish = () => {
      const rest = history.rest(scan.reached);
      if (rest !== undefined) visit(rest);
      collected.whole = scan.whole && rest !== undefined && bytes <= maxBytes;
    };
    return collected;
  }

  /** Waits for this node where another is further. */
  async #exists(connection: Connection, since: Position): Promise<boolean> {
    const { log, sequencer } = this.#options;
    for (;;) {
      const here = sequencer.position;
      if (connection.state === "closed" || here === undefined) return false;
      if (comparePositions(since, here) <= 0) return true;
      if (comparePositions(since, await log.head()) > 0) return false;
      await sequencer.reach(since, AHEAD_TIMEOUT_MS);
    }
  }

  #write(connection: Connection, channel: string, entries: readonly LogEntry[] | undefined, trailing: Position): void {
    const { meter } = this.#options;
    const trailingId = formatId(trailing);
    if (entries === undefined) {
      connection.write(gapFrame(connection.style, [channel], trailingId), trailing);
      meter.count("gapsTold", 1, { cause: "replay" });
      return;
    }
    // Judged again: a renewed token may have taken the right to some of it away.
    const heard = entries.filter((entry) => hearsOn(connection, channel, entry));
    for (const entry of heard) {
      const spreadMs =
        isGap(entry) || entry.scope === undefined ? undefined : this.#options.spreadMs(connection, channel);
      if (isGap(entry)) connection.write(gapFrame(connection.style, [channel], trailingId), trailing);
      else connection.write(entryFrame(connection.style, entry, { trailingId, spreadMs }), trailing);
    }
    meter.count("deliveries", heard.length, { kind: "replay" });
  }
}

interface Collected {
  readonly entries: readonly LogEntry[];
  readonly whole: boolean;
  /** Reads what arrived since; in the same synchronous step as the writing. */
  finish(): void;
}

function isFor({ to }: Publication, room: string): boolean {
  return to?.rooms?.includes(room) ?? false;
}
