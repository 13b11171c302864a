/** What is alike in a plain WebSocket and in an event stream: one connection, written to by its socket alone. */
import type { Socket } from "node:net";
import type { ErrorCode } from "@carillon/protocol";
import type { Batch } from "../batch.ts";
import type { Frame } from "../frames.ts";
import type { Transport } from "../transport.ts";
import { writeQueue } from "../write-queue.ts";

const CLOSE_TIMEOUT_MS = 1500;

export abstract class RawTransport implements Transport {
  abstract readonly kind: string;
  abstract readonly isOpen: boolean;
  abstract readonly mark: number;
  pendingRequests = 0;
  foreground: boolean | undefined;
  readonly #socket: Socket;
  readonly #onClose = new Set<() => void>();
  #batch: Batch | undefined;
  #closed = false;

  constructor(socket: Socket) {
    this.#socket = socket;
  }

  abstract arrived(mark: number): boolean;
  /** Says goodbye. */
  protected abstract end(why: ErrorCode): void;

  /** At the end of this turn of the event loop. */
  write(frame: Frame): void {
    const first = this.#batch === undefined;
    this.#batch = (this.#batch ?? writeQueue.nothing).with(frame);
    if (first) writeQueue.add(this);
  }

  /** What waits for the end of the turn, now: MUST be called before anything else is written to the socket. */
  flush(): void {
    const batch = this.#batch;
    this.#batch = undefined;
    if (batch !== undefined && this.isOpen) this.#socket.write(batch.wire);
  }

  get unsentBytes(): number {
    return (this.#batch?.bytes ?? 0) + this.#socket.writableLength;
  }

  get drained(): boolean {
    return this.unsentBytes === 0;
  }

  onReady(listener: () => void): () => void {
    this.#socket.on("drain", listener);
    return () => void this.#socket.off("drain", listener);
  }

  onClose(listener: () => void): () => void {
    if (this.#closed) listener();
    else this.#onClose.add(listener);
    return () => void this.#onClose.delete(listener);
  }

  unclaim(): void {}

  close(why: ErrorCode): void {
    if (!this.isOpen) return;
    this.flush();
    this.end(why);
    // Whoever doesn't read or has silently gone would hold its end for half a minute.
    setTimeout(() => this.terminate(), CLOSE_TIMEOUT_MS).unref();
  }

  terminate(): void {
    this.#socket.destroy();
  }

  /** MUST be called once it has closed. */
  protected closed(): void {
    if (this.#closed) return;
    this.#closed = true;
    for (const listener of this.#onClose) listener();
    this.#onClose.clear();
  }
}
