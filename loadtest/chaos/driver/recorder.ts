/** A stock Socket.IO client that notes everything it hears. */
import { io, type Socket } from "socket.io-client";
import type { ClientHistory, HeardEvent, HistoryEvent } from "../checker/histories.ts";
import { isEqualScope, markerLane, tagOfPayload, tagOfScope } from "../names.ts";
import type { Begin, ClientSpec } from "./messages.ts";

interface Body {
  readonly id?: string;
  readonly scope?: unknown;
  readonly channel?: string;
  readonly payload?: unknown;
}

/** What is not in socket.io-client's types: the raw connection below the WebSocket. */
interface Raw {
  readonly transport?: { readonly ws?: { readonly _socket?: { destroy(): void; pause(): void; resume(): void } } };
  close(): void;
}

const ackTimeoutMs = 20_000;
const now = (): number => performance.timeOrigin + performance.now();

export class Recorder {
  readonly spec: ClientSpec;
  readonly #socket: Socket;
  readonly #stock: boolean;
  readonly #events: HistoryEvent[] = [];
  readonly #marked = new Set<string>();
  #owedFrom: number | undefined;
  #joined = false;
  heard = 0;
  gaps = 0;

  constructor(spec: ClientSpec, { url, token, stock }: Pick<Begin, "url" | "token" | "stock">) {
    this.spec = spec;
    this.#stock = stock;
    this.#socket = io(url + spec.namespace, {
      forceNew: true,
      transports: [...spec.transports],
      auth: { user: spec.user, ...(token !== undefined && { token }), ...(spec.idsAsEvents && { ids: "event" }) },
      // Keeps the requests of a polling client together where cookies would: see the balancer.
      query: { client: spec.name },
    });
    this.#listen();
  }

  get connected(): boolean {
    return this.#socket.connected;
  }

  get begun(): boolean {
    return this.#owedFrom !== undefined;
  }

  get done(): boolean {
    return this.spec.channels.every((channel) => this.#marked.has(channel));
  }

  cut(): void {
    const engine = this.#engine;
    const socket = engine?.transport?.ws?._socket;
    if (socket == null)
      engine?.close(); // is still being opened, or is closed already
    else socket.destroy();
  }

  stall(ms: number): void {
    const socket = this.#engine?.transport?.ws?._socket;
    socket?.pause();
    setTimeout(() => socket?.resume(), ms);
  }

  /** Forgets markers from before: only what comes from here on shows that nothing is missing. */
  mark(): void {
    this.#marked.clear();
  }

  finish(): ClientHistory {
    this.#socket.disconnect();
    const { name, user, channels, rooms } = this.spec;
    return {
      client: name,
      user,
      channels,
      rooms,
      owedFrom: this.#owedFrom ?? Number.POSITIVE_INFINITY,
      events: this.#events,
    };
  }

  get #engine(): Raw | undefined {
    return this.#socket.io.engine as unknown as Raw | undefined;
  }

  #listen(): void {
    const socket = this.#socket;
    socket.on("connect", () => {
      this.#events.push({ kind: "up", at: now() });
      if (!this.#stock) return;
      // All that the stock stack tells about what was missed.
      if (this.#joined && !socket.recovered) this.#gap({ at: now() });
      void this.#ask(this.spec.channels, this.spec.rooms);
    });
    socket.on("disconnect", (reason) => this.#events.push({ kind: "down", at: now(), reason }));
    socket.on("connect_error", ({ message }) => {
      if (!socket.active) this.#events.push({ kind: "down", at: now(), reason: `refused for good: ${message}` });
    });
    socket.on("ready", (body: { recovered: boolean; channels: string[]; rooms: string[] }, id: string) => {
      const { recovered, channels, rooms } = body;
      this.#events.push({ kind: "ready", at: now(), id, recovered, channels, rooms });
      void this.#ready(body, id);
    });
    socket.on("refresh", (body: Body, id?: string) => {
      const { scope, channel = this.spec.namespace.slice(1) } = body;
      if (scope === "ALL") this.#gap({ at: now(), ...(id !== undefined && { id }) });
      else this.#heard(channel, body, id, tagOfScope(scope), isEqualScope(scope) ? scope : undefined);
    });
    socket.on("notification", (body: Body, id?: string) => {
      this.#heard(body.channel ?? "", body, id, tagOfPayload(body.payload), undefined);
    });
    socket.on("gap", ({ channels }: { channels?: string[] }, id?: string) => {
      this.#gap({ at: now(), ...(id !== undefined && { id }), ...(channels && { channels }) });
    });
    socket.on("offset", (id: string) => {
      const last = this.#events.at(-1) as { id?: string } | undefined;
      if (last !== undefined) last.id = id;
    });
  }

  #heard(
    channel: string,
    body: Body,
    id: string | undefined,
    tag: string | undefined,
    equalScope: string | undefined,
  ): void {
    this.heard++;
    const replayed = body.id !== undefined;
    const event: HeardEvent = { kind: "heard", at: now(), channel };
    const ownId = body.id ?? id;
    this.#events.push(
      Object.assign(
        event,
        tag !== undefined && { tag },
        equalScope !== undefined && { equalScope },
        ownId !== undefined && { id: ownId },
        replayed && { replayed },
      ),
    );
    if (tag?.startsWith(`${markerLane}.`)) this.#marked.add(channel);
  }

  #gap(gap: { at: number; id?: string; channels?: string[] }): void {
    this.gaps++;
    this.#events.push({ kind: "gap", ...gap });
  }

  async #ready(body: { channels: readonly string[]; rooms: readonly string[] }, id: string): Promise<void> {
    const { asksAgain, channels, rooms, namespace } = this.spec;
    const all = !this.#joined || asksAgain;
    const missingRooms = rooms.filter((room) => all || !body.rooms.includes(room));
    const missing =
      namespace === "/channels" ? channels.filter((channel) => all || !body.channels.includes(channel)) : [];
    await this.#ask(missing, missingRooms, this.#joined && !asksAgain ? id : undefined);
  }

  async #ask(channels: readonly string[], rooms: readonly string[], since?: string): Promise<void> {
    try {
      for (const channel of this.spec.namespace === "/channels" ? channels : []) {
        const { id } = await this.#emit("subscribe", { channel, ...(since !== undefined && { since }) });
        this.#events.push({ kind: "subscribed", at: now(), channel, ...(id !== undefined && { id }) });
      }
      for (const room of rooms) {
        await this.#emit("join", { room });
        this.#events.push({ kind: "joined", at: now(), room });
      }
    } catch {
      // Cut off before the ack: the next connection asks again. A refusal shows as a client that never begins.
      return;
    }
    this.#joined = true;
    this.#owedFrom ??= now();
  }

  async #emit(event: string, body: object): Promise<{ id?: string }> {
    const answer = await this.#socket.timeout(ackTimeoutMs).emitWithAck(event, body);
    if (answer.ok !== true) throw new Error(`${event} was refused: ${JSON.stringify(answer)}`);
    return answer as { id?: string };
  }
}
