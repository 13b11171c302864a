import type { Socket } from "node:net";
import { ERRORS, type ErrorCode } from "@carillon/protocol";
import type { WebSocket } from "ws";
import { RawTransport } from "./raw-transport.ts";

export interface Heartbeat {
  readonly everyMs: number;
  /** How long an answer may take. */
  readonly timeoutMs: number;
}

/** What has no code in the table of errors is one of these two, by whether a retry helps. */
const STAY_AWAY = 4000;
const COME_BACK_LATER = 4100;
const POLICY_VIOLATION = 1008;

/** A WebSocket of one JSON object a frame. Pings prove that the client is there, and that it has what was written before them. */
export class WsTransport extends RawTransport {
  readonly kind = "ws";
  readonly #ws: WebSocket;
  readonly #heartbeat: Heartbeat;
  #timer: NodeJS.Timeout;
  #pings = 0;
  #answered = 0;
  #isAbuse = false;

  constructor(ws: WebSocket, socket: Socket, heartbeat: Heartbeat) {
    super(socket);
    this.#ws = ws;
    this.#heartbeat = heartbeat;
    this.#timer = setTimeout(() => this.#ping(), heartbeat.everyMs);
    ws.on("pong", (data) => this.#answer(Number(data.toString("latin1"))));
    ws.on("close", () => {
      clearTimeout(this.#timer);
      this.closed();
    });
  }

  get isOpen(): boolean {
    return this.#ws.readyState === this.#ws.OPEN;
  }

  get mark(): number {
    return this.#pings;
  }

  arrived(mark: number): boolean {
    return this.#answered > mark;
  }

  /** For a client that doesn't speak the protocol. */
  closeForAbuse(): void {
    this.#isAbuse = true;
    this.close("INVALID_REQUEST");
  }

  protected end(why: ErrorCode): void {
    this.#ws.close(this.#isAbuse ? POLICY_VIOLATION : closeCodeOf(why), why);
  }

  #ping(): void {
    this.flush();
    this.#pings++;
    this.#ws.ping(String(this.#pings));
    this.#timer = setTimeout(() => this.terminate(), this.#heartbeat.timeoutMs);
  }

  /** A pong that nobody asked for proves nothing. */
  #answer(ping: number): void {
    if (ping !== this.#pings || ping === this.#answered) return;
    this.#answered = ping;
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#ping(), this.#heartbeat.everyMs);
  }
}

function closeCodeOf(why: ErrorCode): number {
  const { closeCode, retryable } = ERRORS[why] as { readonly closeCode?: number; readonly retryable: boolean };
  return closeCode ?? (retryable ? COME_BACK_LATER : STAY_AWAY);
}
