import { parseId } from "@carillon/protocol";
import { openPrincipal } from "../../src/auth/open.ts";
import { Connection } from "../../src/gateway/connection.ts";
import { frame, Pipe } from "./model-pipe.ts";
import { CHANNELS, ROOMS, type World } from "./model-world.ts";

interface Hearing {
  /** Everything after it, or a gap, is to come. */
  from: number;
  /** Everything up to it was, where it ended. */
  upTo?: number;
}

/** Believes nothing but what it was sent. */
export class Client {
  readonly #world: World;
  #node: World["nodes"][number] | undefined;
  #connection: Connection | undefined;
  #session: string | undefined;
  #offset: string | undefined;
  /** By channel, on this connection. */
  #heardHere = new Map<string, Set<number>>();
  #isIn = false;
  #lastLive = 0;
  #asked = 0;
  readonly #waiting = new Map<number, (answer: Record<string, unknown>) => void>();
  /** By channel, and by channel and room. */
  readonly #hearing = new Map<string, Hearing>();
  readonly #ended: (readonly [string, Hearing])[] = [];
  readonly #heard = new Set<number>();
  /** By channel: what it has and nobody doubts, since no gap was told after it. */
  readonly #certain = new Map<string, Set<number>>();
  readonly #gaps: { channels: string[] | undefined; upTo: number }[] = [];
  readonly story: string[] = [];

  constructor(world: World) {
    this.#world = world;
  }

  async connect(): Promise<void> {
    const node = this.#world.chance.pick(this.#world.nodes);
    const pid = `${Math.random()}`;
    const socket = node.hub.member(pid);
    const transport = new Pipe();
    const connection = new Connection({
      socket,
      principal: openPrincipal("u"),
      style: node.hub.style,
      transport,
      greeting: { session: pid },
    });
    this.#node = node;
    this.#connection = connection;
    this.#heardHere = new Map();
    this.#isIn = false;
    this.#lastLive = 0;
    this.#waiting.clear();
    transport.onClose(() => {
      node.gateway.arrivals.leave(connection);
      node.hub.remove(socket);
    });
    this.story.push(`connect with ${this.#offset}`);
    const auth = this.#session === undefined ? {} : { pid: this.#session, offset: this.#offset };
    await node.gateway.arrivals.arrive(connection, auth);
    if (!transport.isOpen) return;
    node.hub.add(socket, connection);
    node.gateway.arrivals.welcome(connection);
    this.#isIn = this.#connection === connection;
  }

  get connected(): boolean {
    return this.#connection?.transport.isOpen === true;
  }

  /** Whether all that is published has been written to it, and read. */
  get settled(): boolean {
    const connection = this.#connection;
    if (!this.connected || connection?.state !== "live" || !connection.transport.drained) return false;
    return this.#node!.gateway.settled(connection).n === this.#world.published.at(-1)!.n;
  }

  cut(): void {
    this.story.push("cut");
    this.#connection?.transport.terminate();
  }

  read(most: number): void {
    const { transport } = this.#connection ?? {};
    if (transport?.isOpen) for (const text of (transport as Pipe).read(most)) this.#hear(JSON.parse(text));
  }

  subscribe(channel: string): void {
    const { below } = this.#world.chance;
    if (!this.#mayAsk) return;
    const since = !this.#hearing.has(channel) && below(2) === 0 ? this.#offset : undefined;
    this.story.push(`subscribe ${channel} since ${since}`);
    this.#ask("subscribe", { channel, ...(since !== undefined && { since }) }, ({ ok, id }) => {
      if (ok !== true || this.#hearing.has(channel)) return;
      this.#hearing.set(channel, { from: parseId(id)!.n });
      this.story.push(`subscribed ${channel} from ${id}`);
    });
  }

  unsubscribe(channel: string): void {
    if (!this.#mayAsk) return;
    this.story.push(`unsubscribe ${channel}`);
    this.#end(channel);
    // It may come back with an older id than it has heard, since a replay doesn't move it.
    this.#heardHere.delete(channel);
    for (const room of ROOMS) this.#end(`${channel}/${room}`);
    this.#ask("unsubscribe", { channel }, () => {});
  }

  join(channel: string, room: string): void {
    if (!this.#mayAsk) return;
    const key = `${channel}/${room}`;
    this.story.push(`join ${key}`);
    this.#ask("join", { channel, room }, ({ ok, at }) => {
      if (ok === true && this.#hearing.has(channel) && !this.#hearing.has(key))
        this.#hearing.set(key, { from: at as number });
    });
  }

  /** What should have come and did not, and was not told. */
  missing(): string[] {
    const all = [...this.#ended, ...this.#hearing];
    return this.#world.published
      .filter(({ n, channel, room }) =>
        all.some(([name, { from, upTo = Number.POSITIVE_INFINITY }]) => {
          const subscribed = this.#subscribedAt(channel, n, all);
          return name === (room === undefined ? channel : `${channel}/${room}`) && subscribed && n > from && n <= upTo;
        }),
      )
      .filter(({ n, channel }) => !this.#heard.has(n) && !this.#toldOf(n, channel))
      .map(({ n, channel, room }) => `${n} on ${channel} to ${room}`);
  }

  #subscribedAt(channel: string, n: number, all: readonly (readonly [string, Hearing])[]): boolean {
    return all.some(([name, { from, upTo = Number.POSITIVE_INFINITY }]) => name === channel && n > from && n <= upTo);
  }

  #toldOf(n: number, channel: string): boolean {
    return this.#gaps.some(({ channels, upTo }) => upTo >= n && (channels?.includes(channel) ?? true));
  }

  #end(name: string): void {
    const hearing = this.#hearing.get(name);
    if (hearing === undefined) return;
    this.#hearing.delete(name);
    this.#ended.push([name, { ...hearing, upTo: this.#lastLive }]);
  }

  /** One thing after another, so that it knows what it has. */
  get #mayAsk(): boolean {
    return this.#isIn && this.connected && this.#waiting.size === 0;
  }

  #ask(event: string, body: object, then: (answer: Record<string, unknown>) => void): void {
    const connection = this.#connection!;
    const number = ++this.#asked;
    this.#waiting.set(number, then);
    this.#node!.requests.handle(connection, event, [
      body,
      (answer: object) => {
        const at = this.#node!.sequencer.position!.n;
        connection.transport.write(frame(JSON.stringify({ type: "answer", number, at, ...answer })));
      },
    ]);
  }

  // biome-ignore lint/suspicious/noExplicitAny: a test says what it expects
  #hear(event: any): void {
    this.story.push(JSON.stringify({ ...event, payload: undefined }));
    if (event.type === "answer") {
      this.#waiting.get(event.number)?.(event);
      this.#waiting.delete(event.number);
      return;
    }
    if (event.type === "ready") this.#session = event.session;
    const { n } = parseId(event.position ?? event.id)!;
    if (event.type === "notification") this.#heardOf(event, n);
    else if (event.type === "gap") {
      this.#gaps.push({ channels: event.channels, upTo: n });
      for (const channel of event.channels ?? CHANNELS) this.#certain.delete(channel);
    }
    this.#offset = event.position ?? event.id;
    if (event.position === undefined) {
      if (n < this.#lastLive) this.#fail(`${n} after ${this.#lastLive}`);
      this.#lastLive = n;
    }
  }

  #heardOf(event: { id: string; channel: string; position?: string }, trailing: number): void {
    const { n } = parseId(event.id)!;
    if (this.#heardHere.get(event.channel)?.has(n)) this.#fail(`${n} twice on one connection`);
    // By a replay it may ask for what it has.
    if (event.position === undefined && this.#certain.get(event.channel)?.has(n)) this.#fail(`${n} twice`);
    if (trailing < this.#lastLive) this.#fail(`a replay at ${trailing} after ${this.#lastLive}`);
    this.#heard.add(n);
    for (const byChannel of [this.#heardHere, this.#certain])
      byChannel.set(event.channel, (byChannel.get(event.channel) ?? new Set()).add(n));
  }

  #fail(what: string): never {
    throw new Error(`${what}\n${this.story.slice(-60).join("\n")}`);
  }
}
