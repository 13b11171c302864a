/**
 * Writes broadcasts to connections in log order, a slice of a large audience at a time, so that heartbeats and other work get
 * their turn in between. Who hears a publication is decided when it is handed in; a connection that joins later catches up to
 * the same point by itself.
 */
import type { Position } from "@carillon/protocol";
import type { Connection } from "./connection.ts";
import type { Frame, FrameStyle } from "./frames.ts";

export interface Delivery {
  readonly position: Position;
  readonly targets: readonly Connection[];
  /** Encodes for one style; called once for each style among the targets. */
  readonly encode: (style: FrameStyle) => Frame;
}

export interface DeliveriesOptions {
  /** Connections written before the event loop gets its turn. */
  readonly sliceSize: number;
  readonly highWaterMarkBytes: number;
  /** The connection does not read fast enough: it was not written to and must catch up later. */
  readonly onSlow: (connection: Connection) => void;
  readonly onWritten: (count: number) => void;
}

interface Job extends Delivery {
  readonly frames: Map<FrameStyle, Frame>;
  next: number;
}

export class Deliveries {
  readonly #options: DeliveriesOptions;
  readonly #jobs: Job[] = [];
  #scheduled = false;

  constructor(options: DeliveriesOptions) {
    this.#options = options;
  }

  get queued(): number {
    return this.#jobs.length;
  }

  push(delivery: Delivery): void {
    if (delivery.targets.length === 0) return;
    const job: Job = { ...delivery, frames: new Map(), next: 0 };
    if (this.#jobs.length === 0 && delivery.targets.length <= this.#options.sliceSize) {
      this.#write(job, this.#options.sliceSize);
      return;
    }
    this.#jobs.push(job);
    this.#schedule();
  }

  #schedule(): void {
    if (this.#scheduled) return;
    this.#scheduled = true;
    setImmediate(() => {
      this.#scheduled = false;
      this.#slice();
      if (this.#jobs.length > 0) this.#schedule();
    });
  }

  #slice(): void {
    let budget = this.#options.sliceSize;
    let done = 0;
    while (budget > 0 && done < this.#jobs.length) {
      const job = this.#jobs[done]!;
      budget -= this.#write(job, budget);
      if (job.next === job.targets.length) done++;
    }
    this.#jobs.splice(0, done);
  }

  #write(job: Job, budget: number): number {
    const end = Math.min(job.targets.length, job.next + budget);
    const began = job.next;
    let written = 0;
    for (; job.next < end; job.next++) {
      const connection = job.targets[job.next]!;
      if (connection.state !== "live" || !connection.awaits(job.position)) continue;
      if (connection.outbound.unsentBytes > this.#options.highWaterMarkBytes) {
        this.#options.onSlow(connection);
        continue;
      }
      connection.advance(frameFor(job, connection.style), job.position);
      written++;
    }
    this.#options.onWritten(written);
    return end - began;
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
