/**
 * Writes broadcasts to connections in log order, a slice at a time, so that heartbeats and other work get their turn in between.
 * Who hears a publication is decided when it is handed in; a connection that joins later catches up to the same point by itself,
 * and one that has left the channel by its turn, perhaps to come back with a replay of it, is passed over.
 */
import type { Position } from "@carillon/protocol";
import type { Connection } from "./connection.ts";
import type { Frame, FrameStyle } from "./frames.ts";

export interface Delivery {
  readonly position: Position;
  /** Of a publication. */
  readonly channel?: string | undefined;
  /** False for a gap: what came before it is unknown. */
  readonly follows: boolean;
  readonly targets: readonly Connection[];
  /** Encodes for one style; called once for each style among the targets. */
  readonly encode: (style: FrameStyle) => Frame;
}

export interface DeliveriesOptions {
  /** Connections handed something before the event loop gets its turn. */
  readonly sliceSize: number;
  /** Writes that may wait; beyond them connections leave the live path and catch up, merged, when there is time. */
  readonly maxWaiting?: number;
  readonly highWaterMarkBytes: number;
  /** The connection was not written to and must catch up later. */
  readonly onSlow: (connection: Connection) => void;
  readonly onWritten: (count: number) => void;
}

interface Job extends Delivery {
  readonly frames: Map<FrameStyle, Frame>;
  next: number;
}

const MAX_WAITING = 1_000_000;

export class Deliveries {
  readonly #options: DeliveriesOptions;
  #jobs: Job[] = [];
  /** Index of the first job that isn't done; what is before it is cut off in steps. */
  #first = 0;
  #waiting = 0;
  /** Connections that may still be written in this turn of the event loop. */
  #budget: number;
  #scheduled = false;

  constructor(options: DeliveriesOptions) {
    this.#options = options;
    this.#budget = options.sliceSize;
  }

  /** Writes that wait for their turn. */
  get waiting(): number {
    return this.#waiting;
  }

  push(delivery: Delivery): void {
    const { targets } = delivery;
    if (targets.length === 0) return;
    if (this.#waiting + targets.length > (this.#options.maxWaiting ?? MAX_WAITING)) {
      // Not even the frames are made: this node can't keep up, and what waits is merged when it can.
      for (const connection of targets) if (connection.state === "live") this.#options.onSlow(connection);
      return;
    }
    this.#jobs.push({ ...delivery, frames: new Map(), next: 0 });
    this.#waiting += targets.length;
    this.#work();
  }

  /** As much as this turn of the event loop has left. */
  #work(): void {
    while (this.#budget > 0 && this.#first < this.#jobs.length) {
      const job = this.#jobs[this.#first]!;
      this.#write(job);
      if (job.next === job.targets.length) this.#first++;
    }
    if (this.#first >= 256 || this.#first === this.#jobs.length) {
      this.#jobs = this.#jobs.slice(this.#first);
      this.#first = 0;
    }
    if (this.#scheduled) return;
    this.#scheduled = true;
    setImmediate(() => {
      this.#scheduled = false;
      this.#budget = this.#options.sliceSize;
      if (this.#jobs.length > this.#first) this.#work();
    });
  }

  #write(job: Job): void {
    const end = Math.min(job.targets.length, job.next + this.#budget);
    const visited = end - job.next;
    let written = 0;
    // Neighbours mostly share one.
    let style: FrameStyle | undefined;
    let frame: Frame = [];
    for (; job.next < end; job.next++) {
      const connection = job.targets[job.next]!;
      if (connection.state !== "live" || !connection.awaits(job.position, job.channel)) continue;
      if (connection.transport.unsentBytes > this.#options.highWaterMarkBytes) {
        // What was before is written, however long ago: one that seldom hears anything is not as far behind as it looks.
        if (job.follows) connection.moveTo({ epoch: job.position.epoch, n: job.position.n - 1 });
        this.#options.onSlow(connection);
        continue;
      }
      if (connection.style !== style) {
        style = connection.style;
        frame = frameFor(job, style);
      }
      if (job.follows) connection.deliver(frame, job.position);
      else connection.advance(frame, job.position);
      written++;
    }
    this.#budget -= visited;
    this.#waiting -= visited;
    this.#options.onWritten(written);
  }
}

function frameFor(job: Job, style: FrameStyle): Frame {
  let frame = job.frames.get(style);
  if (frame === undefined) {
    frame = job.encode(style);
    job.frames.set(style, frame);
  }
  return frame;
}
