import type { Frame, Packet } from "../../src/gateway/frames.ts";
import type { Transport } from "../../src/gateway/transport.ts";

export const frame = (text: string): Frame => [{ text, options: { bytes: text.length } } as Packet];

/** A transport that holds what it is given until its client reads. */
export class Pipe implements Transport {
  readonly kind = "ws";
  isOpen = true;
  pendingRequests = 0;
  foreground: boolean | undefined;
  #frames: Frame[] = [];
  #written = 0;
  readonly #ready = new Set<() => void>();
  readonly #closed = new Set<() => void>();

  write(written: Frame): void {
    if (!this.isOpen) return;
    this.#frames.push(written);
    this.#written++;
  }

  /** At most so many. */
  read(most: number): string[] {
    const read = this.#frames.splice(0, most);
    if (this.drained) for (const tell of this.#ready) tell();
    return read.flatMap((one) => one.map(({ text }) => text));
  }

  get unsentBytes(): number {
    return this.#frames.reduce((sum, one) => sum + one[0]!.options.bytes, 0);
  }

  get drained(): boolean {
    return this.#frames.length === 0;
  }

  get mark(): number {
    return this.#written;
  }

  arrived(mark: number): boolean {
    return this.#written - this.#frames.length >= mark;
  }

  onReady(listener: () => void): () => void {
    this.#ready.add(listener);
    return () => this.#ready.delete(listener);
  }

  onClose(listener: () => void): () => void {
    this.#closed.add(listener);
    return () => this.#closed.delete(listener);
  }

  unclaim(): void {}

  close(): void {
    this.terminate();
  }

  terminate(): void {
    if (!this.isOpen) return;
    this.isOpen = false;
    for (const tell of this.#closed) tell();
  }
}
