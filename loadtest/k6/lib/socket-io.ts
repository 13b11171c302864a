/** As much of a stock Socket.IO client as listening takes: one namespace over WebSocket, acks, resume by session id and last id. */
import { WebSocket } from "k6/websockets";

export interface Session {
  /** From Socket.IO's CONNECT; goes back with the next one. */
  pid?: string;
  /** The last string that trailed an event. */
  offset?: string;
}

export interface SocketIoOptions {
  /** `http://…` or `https://…`. */
  readonly url: string;
  readonly namespace: string;
  /** Kept up to date, and used to resume where it has something in it. */
  readonly session: Session;
  readonly token?: string | undefined;
  readonly onEvent: (event: string, args: readonly unknown[]) => void;
  /** However it ended: refused, lost, or closed from here. */
  readonly onEnd: () => void;
}

type Answer = { readonly ok: boolean };

export class SocketIo {
  readonly #options: SocketIoOptions;
  readonly #socket: WebSocket;
  readonly #acks = new Map<number, (answer: Answer) => void>();
  #nextAck = 0;
  #ended = false;

  constructor(options: SocketIoOptions) {
    this.#options = options;
    this.#socket = new WebSocket(`${options.url.replace("http", "ws")}/socket.io/?EIO=4&transport=websocket`);
    this.#socket.onmessage = (message) => this.#packet(String(message?.data));
    this.#socket.onclose = () => this.#end();
    this.#socket.onerror = () => this.#end();
  }

  ask(event: string, body: object, onAnswer: (answer: Answer) => void): void {
    const id = this.#nextAck++;
    this.#acks.set(id, onAnswer);
    this.#socket.send(`42${this.#options.namespace},${id}${JSON.stringify([event, body])}`);
  }

  close(): void {
    this.#socket.close();
  }

  #packet(packet: string): void {
    const { namespace, session, token } = this.#options;
    const body = packet.slice(2 + namespace.length + 1);
    if (packet === "2") this.#socket.send("3");
    else if (packet.startsWith("0"))
      this.#socket.send(`40${namespace},${JSON.stringify({ ...session, ...(token && { token }) })}`);
    else if (packet.startsWith(`40${namespace}`)) session.pid = JSON.parse(body).pid;
    else if (packet.startsWith(`44${namespace}`)) this.#socket.close();
    else if (packet.startsWith(`43${namespace}`)) this.#answer(body);
    else if (packet.startsWith(`42${namespace}`)) this.#event(JSON.parse(body));
  }

  #event([event, ...args]: [string, ...unknown[]]): void {
    const last = args.at(-1);
    if (typeof last === "string") this.#options.session.offset = last;
    this.#options.onEvent(event, args);
  }

  #answer(body: string): void {
    const bracket = body.indexOf("[");
    const id = Number(body.slice(0, bracket));
    this.#acks.get(id)?.(JSON.parse(body.slice(bracket))[0]);
    this.#acks.delete(id);
  }

  #end(): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#options.onEnd();
  }
}
