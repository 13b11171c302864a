/**
 * One Engine.IO connection, which may carry several namespaces: writing to it, what of that was not sent yet, and ways to end it.
 *
 * Events are written at the end of the turn of the event loop, all that came up in it at once, and before whatever Engine.IO itself
 * has to send: acks and pings. So their order is that in which they were handed in.
 *
 * Everything is counted that is handed to it, acks and pings too. Engine.IO hands its buffer to the transport whenever that can
 * send (`flush`), and the transport can send again (`writable`) once all of that has left this process; for polling that is when
 * the next poll arrives, and an upgrade hands over what is buffered like any other flush. So the sums are exact for all of them.
 */
import type { Socket } from "node:net";
import type { Batch } from "./batch.ts";
import type { EngineConnection, EngineEvent, EnginePacket } from "./engine.ts";
import type { Frame } from "./frames.ts";
import type { Transport } from "./transport.ts";
import { idleSocket } from "./wire.ts";
import { writeQueue as shared, type WriteQueue } from "./write-queue.ts";

const CLOSE_TIMEOUT_MS = 1500;
const NO_BYTES = Buffer.alloc(0);

const TRANSPORT = Symbol("transport");

interface Carried extends EngineConnection {
  [TRANSPORT]: SocketIoTransport;
}

export class SocketIoTransport implements Transport {
  /** One of each for all, which Engine.IO calls as the connection's. */
  static readonly #listeners: readonly (readonly [EngineEvent, (this: Carried, packet: EnginePacket) => void])[] = [
    ["packetCreate", listener((transport, packet) => transport.#count(packet))],
    [
      "flush",
      listener((transport) => {
        transport.#inFlight = transport.#buffered;
        transport.#buffered = 0;
      }),
    ],
    [
      "heartbeat",
      listener((transport) => {
        transport.#answered = transport.#pings;
      }),
    ],
    [
      "close",
      listener((transport) => {
        transport.#batch = undefined;
        for (const tell of transport.#onClose) tell();
      }),
    ],
  ];

  readonly engine: EngineConnection;
  pendingRequests = 0;
  foreground: boolean | undefined;
  // Arrays, since there are one or two, and a set takes five times as much.
  #namespaces: string[] = [];
  #onClose: (() => void)[] = [];
  /** Those who wait for the moment at which it can send again. */
  #awaited = 0;
  readonly #writeQueue: Pick<WriteQueue, "add" | "nothing">;
  #batch: Batch | undefined;
  #buffered = 0;
  #inFlight = 0;
  #pings = 0;
  #answered = 0;

  constructor(engine: EngineConnection, writeQueue: Pick<WriteQueue, "add" | "nothing"> = shared) {
    this.engine = engine;
    this.#writeQueue = writeQueue;
    (engine as Carried)[TRANSPORT] = this;
    for (const [event, listener] of SocketIoTransport.#listeners) engine.on(event, listener);
  }

  get kind(): string {
    return this.engine.transport.name;
  }

  get isOpen(): boolean {
    return this.engine.readyState === "open";
  }

  /** At the end of this turn of the event loop, or before anything else is sent. */
  write(frame: Frame): void {
    const first = this.#batch === undefined;
    this.#batch = (this.#batch ?? this.#writeQueue.nothing).with(frame);
    if (first) this.#writeQueue.add(this);
  }

  /** What waits for the end of the turn, now. */
  flush(): void {
    const batch = this.#batch;
    if (batch === undefined) return;
    this.#batch = undefined;
    const socket = idleSocket(this.engine);
    if (socket === undefined) this.#handOver(batch);
    else this.#writeDirectly(socket, batch);
  }

  /** Whether or not Socket.IO let the connection in by then. */
  onClose(listener: () => void): () => void {
    if (this.engine.readyState === "closed") listener();
    else this.#onClose.push(listener);
    return () => {
      this.#onClose = this.#onClose.filter((other) => other !== listener);
    };
  }

  /** False when it has a connection in this namespace, or is about to have one. */
  claim(namespace: string): boolean {
    if (this.#namespaces.includes(namespace)) return false;
    this.#namespaces.push(namespace);
    return true;
  }

  unclaim(namespace: string): void {
    this.#namespaces = this.#namespaces.filter((other) => other !== namespace);
  }

  get unsentBytes(): number {
    return (this.#batch?.bytes ?? 0) + this.#buffered + (this.engine.transport.writable ? 0 : this.#inFlight);
  }

  get drained(): boolean {
    return this.#batch === undefined && this.engine.transport.writable && this.engine.writeBuffer.length === 0;
  }

  /** Of the present transport. */
  onReady(listener: () => void): () => void {
    const { transport } = this.engine;
    transport.on("ready", listener);
    this.#awaited++;
    return () => {
      this.#awaited--;
      transport.off("ready", listener);
    };
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
    this.flush();
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

  #count({ type, data, options }: EnginePacket): void {
    this.flush();
    if (type === "ping") this.#pings++;
    this.#buffered += options?.bytes ?? data?.length ?? 0;
  }

  #writeDirectly(socket: Socket, { wire, bytes }: Batch): void {
    const { transport } = this.engine;
    socket.write(wire);
    if (socket.writableLength > 0) {
      // Not all of it was taken. Nothing else gets past it, and this is told when it has left.
      this.#inFlight = bytes;
      transport.writable = false;
      socket.write(NO_BYTES, (error) => {
        // Without it the socket is about to close.
        if (error) return;
        transport.writable = true;
        transport.emit("ready");
      });
    } else if (this.#awaited > 0) transport.emit("ready");
  }

  /** To Engine.IO, in one piece: a poll that waits is answered with all of it. */
  #handOver({ packets }: Batch): void {
    const { engine } = this;
    const { transport } = engine;
    const { writable } = transport;
    const last = packets.pop();
    if (last === undefined) return;
    transport.writable = false;
    for (const { text, options } of packets) engine.write(text, options);
    transport.writable = writable;
    engine.write(last.text, last.options);
  }
}

function listener(handle: (transport: SocketIoTransport, packet: EnginePacket) => void) {
  return function (this: Carried, packet: EnginePacket): void {
    handle(this[TRANSPORT], packet);
  };
}

/** The one `SocketIoTransport` of an Engine.IO connection. */
export function transportOf(engine: object): SocketIoTransport {
  return (engine as Partial<Carried>)[TRANSPORT] ?? new SocketIoTransport(engine as EngineConnection);
}
