/**
 * What waits to be written to a transport, as one value that many transports share: those that were handed the same frames in the
 * same order since their last write have the very same batch, so that its bytes are put together once for all of them and nothing
 * is allocated for each.
 */
import type { Frame, Packet } from "./frames.ts";

export class Batch {
  /** Of payload, as accounts of unsent bytes count it. */
  readonly bytes: number;
  readonly #before: Batch | undefined;
  readonly #frame: Frame;
  #last: Batch | undefined;
  #wire: Buffer | undefined;

  constructor(before?: Batch, frame: Frame = []) {
    this.#before = before;
    this.#frame = frame;
    this.bytes = frame.reduce((sum, { options }) => sum + options.bytes, before?.bytes ?? 0);
  }

  /** This and the frame after it. The same one again as long as nothing else was asked for. */
  with(frame: Frame): Batch {
    if (this.#last === undefined || this.#last.#frame !== frame) this.#last = new Batch(this, frame);
    return this.#last;
  }

  get packets(): Packet[] {
    const frames: Frame[] = [];
    for (let batch: Batch | undefined = this; batch !== undefined; batch = batch.#before) frames.push(batch.#frame);
    return frames.reverse().flat();
  }

  /** All of it as WebSocket frames. */
  get wire(): Buffer {
    if (this.#wire === undefined) {
      const pieces = this.packets.flatMap(({ options }) => options.wsPreEncodedFrame);
      this.#wire = pieces.length === 1 ? pieces[0]! : Buffer.concat(pieces);
    }
    return this.#wire;
  }
}
