/**
 * The start of a subscription: from here on, or with what its channel had since an id that the client names.
 *
 * A replay is older than what the connection already heard, so each of its events has its id in the first argument while the
 * trailing id stays the connection's position.
 */
import type { History, Meter, Sequencer } from "@carillon/core";
import { comparePositions, formatId, isGap, type LogEntry, type Position } from "@carillon/protocol";
import { hears } from "./audience.ts";
import type { Connection } from "./connection.ts";
import { entryFrame, gapFrame } from "./frames.ts";

export interface ReplayOptions {
  readonly history: Pick<History, "scan" | "rest">;
  readonly sequencer: Pick<Sequencer, "position" | "reach">;
  /** The id that may trail an event on a connection: nothing at or below it is still to be written there. */
  readonly settled: (connection: Connection) => Position;
  readonly meter: Meter;
  readonly maxBytes: number;
}

export interface Since {
  readonly id: unknown;
  /** `undefined` when the id is none of ours. */
  readonly position: Position | undefined;
}

const AHEAD_TIMEOUT_MS = 5000;

export class Replay {
  readonly #options: ReplayOptions;

  constructor(options: ReplayOptions) {
    this.#options = options;
  }

  get position(): Position {
    return this.#options.sequencer.position ?? { epoch: 0, n: 0 };
  }

  /** Acks, writes what was missed and joins in one synchronous step, so that nothing falls between. Throws `BUS_UNAVAILABLE`. */
  async run(connection: Connection, channel: string, since: Since | undefined, ack: (answer: object) => void, join: () => void): Promise<void> {
    const missed: LogEntry[] = [];
    let bytes = 0;
    const visit = (entries: readonly LogEntry[]) => {
      for (const entry of entries) {
        if (!isOn(entry, channel) || !hears(connection, entry)) continue;
        missed.push(entry);
        bytes += isGap(entry) ? 64 : 256 + 2 * (entry.payload?.length ?? 0);
      }
    };
    let whole = false;
    if (since?.position !== undefined) {
      if (comparePositions(since.position, this.position) > 0) await this.#options.sequencer.reach(since.position, AHEAD_TIMEOUT_MS);
      const scan = await this.#options.history.scan(since.position, visit);
      const rest = this.#options.history.rest(scan.reached);
      if (rest !== undefined) visit(rest);
      whole = scan.whole && rest !== undefined && bytes <= this.#options.maxBytes;
    }
    if (connection.state === "closed") return;
    const here = this.position;
    const trailing = this.#options.settled(connection);
    ack({ ok: true, channel, id: whole && since?.position !== undefined ? formatId(since.position) : formatId(here), recovered: whole });
    if (since !== undefined) this.#write(connection, channel, whole ? missed : undefined, trailing);
    if (connection.state === "live") join();
  }

  #write(connection: Connection, channel: string, missed: readonly LogEntry[] | undefined, trailing: Position): void {
    const { meter } = this.#options;
    if (missed === undefined) {
      connection.write(gapFrame(connection.style, [channel], formatId(trailing)));
      meter.count("gapsTold", 1, { cause: "replay" });
      return;
    }
    for (const entry of missed) {
      if (isGap(entry)) connection.write(gapFrame(connection.style, [channel], formatId(trailing)));
      else connection.write(entryFrame(connection.style, entry, { trailingId: formatId(trailing) }));
    }
    meter.count("deliveries", missed.length, { kind: "replay" });
  }
}

function isOn(entry: LogEntry, channel: string): boolean {
  return isGap(entry) ? entry.gap.channels === undefined || entry.gap.channels.includes(channel) : entry.channel === channel;
}
