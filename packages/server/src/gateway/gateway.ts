/** Hands each log entry to the connections on this node that may hear it. */
import type { Sequencer, SequencerListener } from "@carillon/core";
import { comparePositions, formatId, isGap, type LogEntry, type Position, parseId } from "@carillon/protocol";
import { Arrivals, type ArrivalsOptions } from "./arrivals.ts";
import { targets } from "./audience.ts";
import type { Connection } from "./connection.ts";
import { Deliveries, type Delivery } from "./deliveries.ts";
import { entryFrame, gapFrame } from "./frames.ts";
import { Hubs, type HubsOptions } from "./hubs.ts";
import type { Laggards } from "./laggards.ts";
import type { SessionKeeper } from "./session-keeper.ts";
import { SlowLane } from "./slow-lane.ts";
import type { Spread } from "./spread.ts";

export interface GatewayOptions extends HubsOptions, Omit<ArrivalsOptions, "spreadMs" | "onClosed"> {
  readonly sequencer: Pick<Sequencer, "position" | "listen">;
  readonly laggards: Pick<Laggards, "drained">;
  readonly sessions: ArrivalsOptions["sessions"] & Pick<SessionKeeper, "renew">;
  readonly spread: Pick<Spread, "enabled" | "ms">;
  readonly sliceSize: number;
  readonly highWaterMarkBytes: number;
}

export class Gateway implements SequencerListener {
  /** The way in for clients that speak no Socket.IO. */
  readonly arrivals: Pick<Arrivals, "arrive" | "welcome" | "leave" | "refusal">;
  readonly #options: GatewayOptions;
  readonly #hubs: Hubs;
  readonly #deliveries: Deliveries;
  readonly #slowLane: SlowLane;

  constructor(options: GatewayOptions) {
    this.#options = options;
    const { meter, laggards, catchUp, sliceSize, highWaterMarkBytes } = options;
    this.#hubs = new Hubs(options);
    const arrivals = new Arrivals({
      ...options,
      spreadMs: (connection) => this.spreadMs(connection),
      onClosed: (connection) => this.#slowLane.forget(connection),
    });
    this.#slowLane = new SlowLane({
      laggards,
      catchUp,
      giveUp: (connection, error) => arrivals.giveUp(connection, error),
    });
    this.#deliveries = new Deliveries({
      sliceSize,
      highWaterMarkBytes,
      onSlow: (connection) => this.#slowLane.take(connection),
      onWritten: (count) => meter.count("deliveries", count, { kind: "live" }),
    });
    for (const hub of this.#hubs.socketIo) arrivals.welcomeTo(hub);
    this.arrivals = arrivals;
    options.sequencer.listen(this);
  }

  /** Live connections by namespace. */
  connections(): ReadonlyMap<string, number> {
    return this.#hubs.counts();
  }

  /** Everyone who is let in, whole or not. */
  everyone(): Generator<Connection> {
    return this.#hubs.everyone();
  }

  get slow(): number {
    return this.#slowLane.size;
  }

  /** The position up to which nothing is still to be written to `connection`. */
  settled(connection: Connection): Position {
    const { position } = connection;
    if (connection.state !== "live") return position;
    // What waits may be a gap, which says nothing about where it begins.
    const upTo = this.#deliveries.waiting === 0 ? this.#options.sequencer.position : undefined;
    return upTo !== undefined && comparePositions(upTo, position) > 0 ? upTo : position;
  }

  /** For a refresh that one connection gets late; as many others probably get theirs. Without a channel: a refresh of everything there. */
  spreadMs(connection: Connection, channel: string | undefined = connection.style.ownChannel): number | undefined {
    const { spread } = this.#options;
    return spread.enabled ? spread.ms(Math.max(this.#hubs.audience(channel), 1)) : undefined;
  }

  entry(entry: LogEntry): void {
    const found = this.#listeners(entry);
    const audience = count(found);
    if (audience === 0) return;
    if (isGap(entry)) this.#options.meter.count("gapsTold", audience, { cause: "feed" });
    const spreadMs = isGap(entry) || entry.scope !== undefined ? this.#options.spread.ms(audience) : undefined;
    this.#push(found, {
      position: parseId(entry.id)!,
      channel: isGap(entry) ? undefined : entry.channel,
      follows: true,
      encode: (style) => entryFrame(style, entry, { spreadMs }),
    });
  }

  gap(position: Position, cause: string): void {
    if (cause === "epoch") this.#options.sessions.renew();
    const id = formatId(position);
    const found = this.#listeners({ gap: {}, id, timestampMs: 0 });
    const audience = count(found);
    this.#options.meter.count("gapsTold", audience, { cause });
    const spreadMs = this.#options.spread.ms(audience);
    this.#push(found, { position, follows: false, encode: (style) => gapFrame(style, undefined, id, spreadMs) });
  }

  /** By namespace. */
  #listeners(entry: LogEntry): Connection[][] {
    return this.#hubs.all.map(({ namespace, ownChannel }) => targets(namespace, ownChannel, entry));
  }

  #push(found: readonly Connection[][], delivery: Omit<Delivery, "targets">): void {
    for (const hears of found) this.#deliveries.push({ ...delivery, targets: hears });
  }
}

function count(found: readonly Connection[][]): number {
  return found.reduce((sum, { length }) => sum + length, 0);
}
