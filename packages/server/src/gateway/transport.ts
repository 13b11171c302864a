/**
 * One Engine.IO connection, which may carry several namespaces: what of it was not sent yet, and ways to end it.
 *
 * Everything is counted that is handed to it, acks and pings too. Engine.IO hands its buffer to the transport whenever that can
 * send (`flush`), and the transport can send again (`writable`) once all of that has left this process; for polling that is when
 * the next poll arrives, and an upgrade hands over what is buffered like any other flush. So two sums are exact for all of them.
 */

import type { Carrier } from "./carrier.ts";
import type { Frame } from "./frames.ts";

/** What of Engine.IO's connection is used. */
export interface EngineConnection {
  readonly readyState: string;
  readonly transport: EngineTransport;
  readonly writeBuffer: readonly unknown[];
  write(data: string, options: object): void;
  close(discard?: boolean): void;
  on(event: "packetCreate", listener: (packet: EnginePacket) => void): unknown;
  on(event: "flush" | "heartbeat" | "close", listener: () => void): unknown;
}

/** Its present transport: another one after an upgrade. */
export interface EngineTransport {
  readonly writable: boolean;
  readonly name: string;
  readonly socket?: { terminate?: () => void };
  on(event: "ready", listener: () => void): unknown;
  off(event: "ready", listener: () => void): unknown;
}

interface EnginePacket {
  readonly type: string;
  readonly data?: string | { readonly length: number };
  readonly options?: { readonly bytes?: number };
}

const CLOSE_TIMEOUT_MS = 1500;

export class Transport implements Carrier {
  readonly engine: EngineConnection;
  pendingRequests = 0;
  foreground: boolean | undefined;
  readonly #namespaces = new Set<string>();
  readonly #onClose = new Set<() => void>();
  #buffered = 0;
  #inFlight = 0;
  #pings = 0;
  #answered = 0;

  constructor(engine: EngineConnection) {
    this.engine = engine;
    engine.on("packetCreate", ({ type, data, options }) => {
      if (type === "ping") this.#pings++;
      this.#buffered += options?.bytes ?? data?.length ?? 0;
    });
    // One listener for all: Engine.IO's emitter warns of many.
    engine.on("close", () => {
      for (const listener of this.#onClose) listener();
    });
    engine.on("heartbeat", () => {
      this.#answered = this.#pings;
    });
    engine.on("flush", () => {
      this.#inFlight = this.#buffered;
      this.#buffered = 0;
    });
  }

  get kind(): string {
    return this.engine.transport.name;
  }

  get isOpen(): boolean {
    return this.engine.readyState === "open";
  }

  write(frame: Frame): void {
    for (const packet of frame) this.engine.write(packet.text, packet.options);
  }

  /** Whether or not Socket.IO let the connection in by then. */
  onClose(listener: () => void): () => void {
    if (this.engine.readyState === "closed") listener();
    else this.#onClose.add(listener);
    return () => void this.#onClose.delete(listener);
  }

  /** False when it has a connection in this namespace, or is about to have one. */
  claim(namespace: string): boolean {
    if (this.#namespaces.has(namespace)) return false;
    this.#namespaces.add(namespace);
    return true;
  }

  unclaim(namespace: string): void {
    this.#namespaces.delete(namespace);
  }

  get unsentBytes(): number {
    return this.#buffered + (this.engine.transport.writable ? 0 : this.#inFlight);
  }

  get drained(): boolean {
    return this.engine.transport.writable && this.engine.writeBuffer.length === 0;
  }

  /** Of the present transport. */
  onReady(listener: () => void): () => void {
    const { transport } = this.engine;
    transport.on("ready", listener);
    return () => void transport.off("ready", listener);
  }

  get mark(): number {
    return this.#pings;
  }

  /** An answered ping proves the arrival of all that was written before the ping, since a transport keeps its order. */
  arrived(mark: number): boolean {
    return this.#answered > mark;
  }

  /** Stock clients come back from it by themselves. */
  close(): void {
    const { socket } = this.engine.transport;
    this.engine.close();
    // Whoever doesn't read, doesn't poll or has silently gone would hold its end for half a minute.
    setTimeout(() => {
      if (this.engine.readyState !== "closed") this.engine.close(true);
      socket?.terminate?.();
    }, CLOSE_TIMEOUT_MS).unref();
  }

  /** An orderly close would wait behind all that it doesn't read. */
  terminate(): void {
    const { socket } = this.engine.transport;
    this.engine.close(true);
    socket?.terminate?.();
  }
}

const transports = new WeakMap<object, Transport>();

/** The one `Transport` of an Engine.IO connection. */
export function transportOf(engine: object): Transport {
  let transport = transports.get(engine);
  if (transport === undefined) {
    transport = new Transport(engine as EngineConnection);
    transports.set(engine, transport);
  }
  return transport;
}
