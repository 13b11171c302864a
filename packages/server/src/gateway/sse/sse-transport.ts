import type { ServerResponse } from "node:http";
import type { Socket } from "node:net";
import type { PublicationId } from "@carillon/protocol";
import { RawTransport } from "../plain/raw-transport.ts";
import { heartbeatFrame, retryFrame } from "./codec.ts";

/** The response to one request, as long as it lasts. */
export class SseTransport extends RawTransport {
  readonly kind = "events";
  /** Clients can't answer, so nothing ever proves what they have. */
  readonly mark = 0;
  readonly #response: ServerResponse;
  readonly #socket: Socket;
  #timer: NodeJS.Timeout | undefined;
  #readBefore = 0;
  #toldBefore: PublicationId | undefined;

  constructor(response: ServerResponse) {
    super(response.socket!);
    this.#response = response;
    this.#socket = response.socket!;
    response.on("close", () => {
      clearInterval(this.#timer);
      this.closed();
    });
  }

  get isOpen(): boolean {
    return !this.#response.writableEnded && !this.#socket.destroyed;
  }

  arrived(): boolean {
    return false;
  }

  /** `heartbeatMs`: proxies cut off who is silent. `position`: what the client may come back with although it heard nothing. */
  begin(heartbeatMs: number, position: () => PublicationId | undefined, headers: object): void {
    const response = this.#response;
    // The body lasts as long as the connection: without chunks, an event goes out as the very bytes that all others get.
    response.removeHeader("transfer-encoding");
    response.writeHead(200, {
      ...headers,
      "content-type": "text/event-stream",
      "cache-control": "no-store, no-transform",
      "x-accel-buffering": "no",
      connection: "close",
    });
    response.flushHeaders();
    this.write(retryFrame(RETRY_MIN_MS + Math.floor(Math.random() * RETRY_SPREAD_MS)));
    this.#timer = setInterval(() => this.#beat(position()), heartbeatMs);
  }

  protected end(): void {
    this.#response.end();
  }

  /** Whoever has not read anything since the last time, although there is something to read, has gone. */
  #beat(position: PublicationId | undefined): void {
    const read = this.#socket.bytesWritten - this.#socket.writableLength;
    if (!this.drained && read === this.#readBefore) {
      this.terminate();
      return;
    }
    this.#readBefore = read;
    this.write(heartbeatFrame(position === this.#toldBefore ? undefined : position));
    this.#toldBefore = position;
  }
}

/** All clients of a node that went away come back spread over this. */
const RETRY_MIN_MS = 1000;
const RETRY_SPREAD_MS = 2000;
