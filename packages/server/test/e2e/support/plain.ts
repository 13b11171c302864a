/** Clients without a library: a plain WebSocket and an event stream, which record what they hear. */
import { waitFor } from "@carillon/testkit";
import { WebSocket } from "ws";

export interface Told {
  readonly type: string;
  // biome-ignore lint/suspicious/noExplicitAny: a test says what it expects
  readonly [key: string]: any;
}

/** The first of `heard` that fits and was not given back before; waits for it if need be. */
function nextOf(heard: readonly Told[], given: Set<Told>) {
  return (type: string, fits: (told: Told) => boolean = () => true, timeoutMs = 10_000): Promise<Told> =>
    waitFor(
      () => {
        const found = heard.find((told) => told.type === type && !given.has(told) && fits(told));
        if (found !== undefined) given.add(found);
        return found;
      },
      { what: `${type}; heard ${JSON.stringify(heard.slice(-10))}`, timeoutMs },
    );
}

export interface PlainOptions {
  readonly query?: Record<string, string>;
  readonly headers?: Record<string, string>;
}

export class PlainSocket {
  readonly socket: WebSocket;
  readonly frames: string[] = [];
  readonly heard: Told[] = [];
  readonly next = nextOf(this.heard, new Set());
  opened = false;
  /** Set when it has closed. */
  end: { readonly code: number; readonly reason: string } | undefined;
  /** What its upgrade was answered, where that was no WebSocket. */
  refusal: { readonly status: number; readonly headers: Record<string, unknown>; readonly text: string } | undefined;

  constructor(url: string, { query = {}, headers = {} }: PlainOptions = {}) {
    const search = new URLSearchParams(query).toString();
    this.socket = new WebSocket(`${url.replace("http", "ws")}/ws${search && `?${search}`}`, { headers });
    this.socket.on("open", () => {
      this.opened = true;
    });
    this.socket.on("message", (data) => {
      this.frames.push(String(data));
      this.heard.push(JSON.parse(String(data)));
    });
    this.socket.on("close", (code, reason) => {
      this.end ??= { code, reason: String(reason) };
    });
    this.socket.on("unexpected-response", (_request, response) => {
      let text = "";
      response.on("data", (chunk) => {
        text += chunk;
      });
      response.on("end", () => {
        this.refusal = { status: response.statusCode ?? 0, headers: response.headers, text };
      });
    });
    this.socket.on("error", () => {});
  }

  /** Once it can send. */
  static async open(url: string, options?: PlainOptions): Promise<PlainSocket> {
    const plain = new PlainSocket(url, options);
    await waitFor(() => plain.opened, { what: "the WebSocket to open" });
    return plain;
  }

  say(frame: object | string | Buffer): void {
    this.socket.send(typeof frame === "object" && !Buffer.isBuffer(frame) ? JSON.stringify(frame) : frame);
  }

  #refs = 0;
  /** Resolves with the answer to it. */
  async ask(frame: object): Promise<Told> {
    const ref = `r${++this.#refs}`;
    this.say({ ...frame, ref });
    return waitFor(() => this.heard.find((told) => told.ref === ref), {
      what: `the answer to ${JSON.stringify(frame)}; heard ${JSON.stringify(this.heard.slice(-10))}`,
    });
  }

  ended(timeoutMs = 10_000): Promise<{ readonly code: number; readonly reason: string }> {
    return waitFor(() => this.end, { what: "it to be closed", timeoutMs });
  }

  close(): void {
    this.socket.terminate();
  }
}

export interface StreamOptions {
  /** A list names a parameter several times. */
  readonly query?: Record<string, string | readonly string[]>;
  readonly headers?: Record<string, string>;
}

export interface StreamHears {
  heard?(told: Told): void;
  ended?(): void;
}

/** Server-sent events as the specification parses them; it doesn't come back by itself. */
export class EventStream {
  readonly heard: Told[] = [];
  /** Names of events, as they came. */
  readonly events: string[] = [];
  /** Comments and all, as it came. */
  text = "";
  lastId = "";
  retryMs: number | undefined;
  response: Response | undefined;
  ended = false;
  readonly next = nextOf(this.heard, new Set());
  readonly #abort = new AbortController();

  readonly #hears: StreamHears;

  constructor(url: string, { query = {}, headers = {} }: StreamOptions = {}, hears: StreamHears = {}) {
    this.#hears = hears;
    const search = new URLSearchParams(
      Object.entries(query).flatMap(([name, values]) =>
        [values].flat().map((value): [string, string] => [name, value]),
      ),
    );
    void this.#read(`${url}/events?${search}`, headers)
      .catch(() => {})
      .then(() => {
        this.ended = true;
        hears.ended?.();
      });
  }

  /** Once it is answered. */
  static async open(url: string, options?: StreamOptions): Promise<EventStream> {
    const stream = new EventStream(url, options);
    await waitFor(() => stream.response !== undefined, { what: "an answer" });
    return stream;
  }

  close(): void {
    this.#abort.abort();
  }

  async #read(url: string, headers: Record<string, string>): Promise<void> {
    this.response = await fetch(url, { headers, signal: this.#abort.signal });
    const decoder = new TextDecoder();
    let buffer = "";
    for await (const chunk of this.response.body ?? []) {
      const piece = decoder.decode(chunk, { stream: true });
      this.text += piece;
      buffer += piece;
      const blocks = buffer.split("\n\n");
      buffer = blocks.pop() ?? "";
      for (const block of blocks) this.#block(block);
    }
  }

  #block(block: string): void {
    const fields = new Map(
      block.split("\n").map((line) => [line.split(":", 1)[0]!, line.slice(line.indexOf(":") + 1).trimStart()]),
    );
    this.lastId = fields.get("id") ?? this.lastId;
    if (fields.has("retry")) this.retryMs = Number(fields.get("retry"));
    const data = fields.get("data");
    if (data === undefined) return;
    this.events.push(fields.get("event") ?? "message");
    const told = JSON.parse(data);
    this.heard.push(told);
    this.#hears.heard?.(told);
  }
}
