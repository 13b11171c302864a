/** What the tests of the gateway share: stock clients that lose their connection on purpose, and a client that sends raw frames. */
import { api, type Client, type ConnectOptions, connect, type RecordedEvent, waitFor } from "@carillon/testkit";
import { WebSocket } from "ws";

export const REFRESH_NAMESPACES = ["/notifications", "/trips", "/users"] as const;
export const CHANNEL_NAMESPACES = ["/channels", "/"] as const;
export const TRANSPORTS = ["websocket", "polling"] as const;
export type TransportName = (typeof TRANSPORTS)[number];

export function join(
  url: string,
  namespace: string,
  transport: TransportName = "websocket",
  options: ConnectOptions = {},
): Client {
  return connect(url, namespace, {
    transports: [transport],
    reconnectionDelay: 20,
    reconnectionDelayMax: 200,
    ...options,
  });
}

/** Where its next connection goes. */
export function moveTo(client: Client, url: string): void {
  (client.socket.io as unknown as { uri: string }).uri = url;
}

/** Loses its connection, stays away while `during` runs, and comes back, to `url` where given. Resolves with what it heard then, up to `ready`. */
export async function away(client: Client, during: () => Promise<unknown>, url?: string): Promise<RecordedEvent[]> {
  const manager = client.socket.io;
  manager.reconnection(false);
  const gone = new Promise((resolve) => client.socket.once("disconnect", resolve));
  manager.engine.close();
  await gone;
  await during();
  if (url !== undefined) moveTo(client, url);
  const before = client.events.length;
  manager.reconnection(true);
  client.socket.connect();
  return heardUntilReady(client, before);
}

export async function heardUntilReady(client: Client, from: number): Promise<RecordedEvent[]> {
  await waitFor(() => client.events.slice(from).some(({ event }) => event === "ready"), {
    what: `ready; heard ${JSON.stringify(client.events.slice(from))}`,
  });
  const heard = client.events.slice(from);
  return heard.slice(0, heard.findIndex(({ event }) => event === "ready") + 1);
}

export async function refresh(url: string, namespace: string, scope: string, more: object = {}): Promise<string> {
  const answer = await api(url).post(`/api/refresh/${namespace.replace("/", "")}`, { scope, ...more });
  if (answer.status !== 202) throw new Error(`refresh answered ${answer.status}: ${answer.text}`);
  return answer.body.id;
}

export async function message(url: string, channel: string, payload: unknown): Promise<string> {
  const answer = await api(url).post(`/api/notifications/${channel}`, payload);
  if (answer.status !== 202) throw new Error(`message answered ${answer.status}: ${answer.text}`);
  return answer.body.id;
}

/** Many at once, in order. Resolves with their ids. */
export async function batch(url: string, publications: object[], size = 500): Promise<string[]> {
  const ids: string[] = [];
  for (let i = 0; i < publications.length; i += size) {
    const answer = await api(url).post("/api/publications", { publications: publications.slice(i, i + size) });
    if (answer.status !== 202) throw new Error(`publications answered ${answer.status}: ${answer.text}`);
    for (const result of answer.body.results) {
      if (result.id === undefined) throw new Error(JSON.stringify(result));
      ids.push(result.id);
    }
  }
  return ids;
}

export const scopes = (events: readonly RecordedEvent[]): string[] =>
  events.filter(({ event }) => event === "refresh").map(({ args }) => args[0].scope);
export const ids = (events: readonly RecordedEvent[]): string[] =>
  events.filter(({ event }) => event === "refresh" || event === "notification").map(({ args }) => args[1]);

export function compareIds(a: string, b: string): number {
  const [aEpoch, aN] = a.split("-").map(Number) as [number, number];
  const [bEpoch, bN] = b.split("-").map(Number) as [number, number];
  return aEpoch - bEpoch || aN - bN;
}

/** A WebSocket without a Socket.IO client behind it: every frame that it sends is the test's. Answers pings. */
export class Raw {
  readonly frames: string[] = [];
  readonly socket: WebSocket;
  closed = false;
  answersPings = true;

  constructor(url: string, path = "/socket.io/?EIO=4&transport=websocket") {
    this.socket = new WebSocket(url.replace("http", "ws") + path);
    this.socket.on("message", (data) => {
      const text = String(data);
      if (text === "2") {
        if (this.answersPings) this.socket.send("3");
      } else this.frames.push(text);
    });
    this.socket.on("close", () => {
      this.closed = true;
    });
    this.socket.on("error", () => {});
  }

  static async open(url: string): Promise<Raw> {
    const raw = new Raw(url);
    await waitFor(() => raw.closed || raw.frames.some((frame) => frame.startsWith("0")), {
      what: "the open packet",
      timeoutMs: 60_000,
    });
    if (raw.frames.length === 0) throw new Error("the transport was refused");
    return raw;
  }

  send(frame: string | Buffer): void {
    this.socket.send(frame);
  }

  /** The first frame that begins so and was not given back before. */
  async next(prefix: string, timeoutMs = 10_000): Promise<string> {
    return waitFor(
      () => {
        const index = this.frames.findIndex((frame) => frame.startsWith(prefix));
        return index >= 0 && this.frames.splice(index, 1)[0];
      },
      { what: `a frame ${prefix}…; got ${this.frames.join(" ")}`, timeoutMs },
    );
  }

  close(): void {
    this.socket.terminate();
  }
}

/** The arguments of a Socket.IO event frame. */
// biome-ignore lint/suspicious/noExplicitAny: a test says what it expects
export function eventOf(frame: string): any[] {
  return JSON.parse(frame.slice(frame.indexOf("[")));
}
