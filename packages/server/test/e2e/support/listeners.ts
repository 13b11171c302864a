/**
 * One application's client in each protocol, as its documentation says to write it: it connects, subscribes and joins in every
 * `ready`, and comes back whenever it may. What it hears is put down in one form for all.
 */
import { type Client, connect, waitFor } from "@carillon/testkit";
import { EventStream, PlainSocket, type Told } from "./plain.ts";

export const KINDS = ["websocket", "polling", "one argument", "plain WebSocket", "server-sent events"] as const;
export type Kind = (typeof KINDS)[number];

export interface Wants {
  /** Through the balancer of a cluster. */
  readonly url: string;
  readonly token: string;
  readonly channels: readonly string[];
  /** Joined on each of the channels. */
  readonly rooms?: readonly string[];
  /** Where it goes. */
  node: number;
}

export interface Heard {
  readonly what: "message" | "refresh" | "gap";
  readonly channel?: string;
  readonly payload?: unknown;
  readonly scope?: string;
  id: string | undefined;
}

export abstract class Listener {
  readonly kind: Kind;
  readonly heard: Heard[] = [];
  /** Of each `ready`, whether nothing was missed. */
  readonly recovered: boolean[] = [];
  /** Codes with which it was refused for good. */
  readonly refused: string[] = [];
  readonly wants: Wants;
  /** Whether it comes back by itself. */
  protected returns = true;
  /** Each time that it was subscribed and in its rooms. */
  settled = 0;

  constructor(kind: Kind, wants: Wants) {
    this.kind = kind;
    this.wants = wants;
  }

  protected abstract connect(): void;
  /** The connection is lost without a word. */
  protected abstract drop(): void;

  async open(): Promise<this> {
    this.connect();
    await this.until(() => this.settled > 0 || this.refused.length > 0, "to be subscribed or refused");
    return this;
  }

  /** Loses its connection, and stays away. */
  cut(): void {
    this.returns = false;
    this.drop();
  }

  async back(): Promise<void> {
    const { settled } = this;
    this.returns = true;
    this.connect();
    await this.until(() => this.settled > settled || this.refused.length > 0, "to be back");
  }

  close(): void {
    this.cut();
  }

  until(condition: () => boolean, what: string, timeoutMs = 20_000): Promise<unknown> {
    return waitFor(condition, {
      what: `the client by ${this.kind} ${what}; refused ${this.refused}; heard ${JSON.stringify(this.heard.slice(-5))}`,
      timeoutMs,
    });
  }

  get payloads(): unknown[] {
    return this.heard.filter(({ what }) => what === "message").map(({ payload }) => payload);
  }
}

class StockListener extends Listener {
  #client: Client | undefined;

  protected connect(): void {
    if (this.#client === undefined) this.#client = this.#create();
    else {
      const { io: manager } = this.#client.socket;
      manager.opts.query = this.#query;
      manager.reconnection(true);
      this.#client.socket.connect();
    }
  }

  protected drop(): void {
    const { io: manager } = this.#client!.socket;
    manager.reconnection(false);
    manager.engine?.close();
  }

  override close(): void {
    this.#client?.close();
  }

  get #query(): Record<string, string> {
    return { node: `${this.wants.node}` };
  }

  #create(): Client {
    const { url, token } = this.wants;
    const oneArgument = this.kind === "one argument";
    const client = connect(url, "/channels", {
      transports: [this.kind === "polling" ? "polling" : "websocket"],
      auth: { token, ...(oneArgument && { ids: "event" }) },
      query: this.#query,
      reconnectionDelay: 50,
      reconnectionDelayMax: 500,
    });
    const { socket } = client;
    socket.io.on("reconnect_attempt", () => {
      socket.io.opts.query = this.#query;
    });
    socket.on("connect_error", (error: Error & { data?: { code?: string } }) => {
      if (!socket.active) this.refused.push(error.data?.code ?? error.message);
    });
    socket.onAny((event: string, argument, id) => {
      if (event === "offset") this.#name(argument);
      else if (event === "ready") void this.#settle(client, argument.recovered);
      else
        this.heard.push(normal({ ...argument, type: event === "refresh" ? "REFRESH" : event, id: argument.id ?? id }));
    });
    return client;
  }

  /** Of what it heard just before; or of a `ready`, which is not put down. */
  #name(id: string): void {
    const last = this.heard.at(-1);
    if (last !== undefined) last.id ??= id;
  }

  async #settle(client: Client, recovered: boolean): Promise<void> {
    this.recovered.push(recovered);
    const { channels, rooms = [] } = this.wants;
    const answers = await Promise.all(
      channels.flatMap((channel) => [
        client.ask("subscribe", { channel }),
        ...rooms.map((room) => client.ask("join", { channel, room })),
      ]),
    ).catch(() => undefined); // cut off meanwhile
    if (answers === undefined) return;
    for (const { error } of answers) if (error !== undefined) this.refused.push(error.code);
    this.settled++;
  }
}

/** For both that have no library: when to come back is up to us. */
abstract class RawListener extends Listener {
  /** What it says when it comes back. */
  protected lastId: string | undefined;

  protected lost(forGood: string | undefined): void {
    if (forGood !== undefined) this.refused.push(forGood);
    else if (this.returns) setTimeout(() => this.returns && this.connect(), 100);
  }

  protected hear(told: Told): void {
    this.lastId = told.position ?? told.id ?? this.lastId;
    if (told.type === "ready") this.recovered.push(told.recovered);
    else this.heard.push(normal(told));
  }
}

class PlainListener extends RawListener {
  #plain: PlainSocket | undefined;
  #session: string | undefined;

  protected connect(): void {
    const { url, token, node, channels, rooms = [] } = this.wants;
    const plain = new PlainSocket(url, { query: { node: `${node}` } });
    this.#plain = plain;
    plain.socket.on("open", () => plain.say({ type: "auth", token, session: this.#session, since: this.lastId }));
    plain.socket.on("message", () => {
      const told = plain.heard.at(-1)!;
      if (["ready", "notification", "REFRESH", "gap"].includes(told.type)) this.hear(told);
      if (told.type !== "ready") return;
      this.#session = told.session;
      void Promise.all(
        channels.flatMap((channel) => [
          plain.ask({ type: "subscribe", channel }),
          ...rooms.map((room) => plain.ask({ type: "join", channel, room })),
        ]),
      ).then(
        (answers) => {
          for (const { type, code } of answers) if (type === "error") this.refused.push(code);
          this.settled++;
        },
        () => {}, // cut off meanwhile
      );
    });
    plain.socket.on("close", (code, reason) => this.lost(code >= 4000 && code < 4100 ? String(reason) : undefined));
  }

  protected drop(): void {
    this.#plain?.close();
  }
}

class StreamListener extends RawListener {
  #stream: EventStream | undefined;

  protected connect(): void {
    const { url, token, node, channels, rooms = [] } = this.wants;
    const stream = new EventStream(
      url,
      {
        query: { node: `${node}`, channel: channels, room: rooms },
        headers: {
          authorization: `Bearer ${token}`,
          ...(this.lastId !== undefined && { "last-event-id": this.lastId }),
        },
      },
      {
        heard: (told) => {
          this.hear(told);
          if (told.type === "ready") this.settled++;
        },
        ended: () => {
          const { response, text } = stream;
          // A browser stays away from anything but 200; 503 is what an application tries again.
          const final = response !== undefined && response.status >= 400 && response.status < 500;
          if (stream.lastId !== "") this.lastId = stream.lastId;
          this.lost(final ? JSON.parse(text).code : undefined);
        },
      },
    );
    this.#stream = stream;
  }

  protected drop(): void {
    this.#stream?.close();
  }
}

export function listener(kind: Kind, wants: Wants): Listener {
  const own = { ...wants };
  if (kind === "plain WebSocket") return new PlainListener(kind, own);
  if (kind === "server-sent events") return new StreamListener(kind, own);
  return new StockListener(kind, own);
}

function normal({ type, channel, channels, payload, scope, id }: Told): Heard {
  if (type === "gap") return { what: "gap", id, ...(channels !== undefined && { channel: channels.join(" ") }) };
  if (type === "REFRESH") return { what: "refresh", channel, scope, id, ...(payload !== undefined && { payload }) };
  return { what: "message", channel, payload, id };
}
