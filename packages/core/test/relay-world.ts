import { CarillonError, isGap, type LogEntry } from "@carillon/protocol";
import { vi } from "vitest";
import {
  type AppendRequest,
  type AppendResult,
  type Feed,
  type FeedListener,
  type Lease,
  type Mark,
  MemoryLog,
  noLogger,
  Relay,
} from "../src/index.ts";
import { countingMeter, message } from "./support.ts";

export const pass = (ms = 0) => vi.advanceTimersByTimeAsync(ms);

type FeedEvent =
  | { kind: "message"; channel: string; text: string }
  | { kind: "mark"; mark: Mark }
  | { kind: "opened"; channel: string }
  | { kind: "closed"; channel: string };

/**
 * A cluster in one process, under fake timers: a feed that all nodes hear in one order, each as late as it likes; a log; a lease that
 * one node holds as far as anybody can tell. Nodes die, stand still and wake up believing what they believed, and lose the feed.
 */
export class World {
  readonly log = new MemoryLog({ maxEntries: 1_000_000 });
  readonly sent: { channel: string; n: number; atMs: number }[] = [];
  readonly nodes: SimulatedNode[] = [];
  readonly random: () => number;
  readonly channels = new Set(["a", "b"]);
  /** Of appends, in both directions, and of the feed. */
  latencyMs = 5;
  /** What happens to appends: all well, refused, or done with the answer lost. */
  appends: "well" | "refused" | "unanswered" = "well";
  maxKept = 50_000;
  maxSkewMs = 0;
  /** The log's epoch as the nodes know it; `undefined`: they don't say. */
  epoch: number | undefined;
  #holder: SimulatedNode | undefined;
  #vacantSinceMs = 0;

  constructor(seed = 1) {
    this.random = prng(seed);
  }

  get alive(): SimulatedNode[] {
    return this.nodes.filter(({ dead }) => !dead);
  }

  get holder(): SimulatedNode | undefined {
    return this.#holder;
  }

  addNode(): SimulatedNode {
    const node = new SimulatedNode(this, (this.random() * 2 - 1) * this.maxSkewMs);
    this.nodes.push(node);
    node.connect();
    node.relay.start();
    return node;
  }

  send(channel: string, count = 1): void {
    for (let i = 0; i < count; i++) {
      const n = this.sent.filter((one) => one.channel === channel).length + 1;
      this.sent.push({ channel, n, atMs: Date.now() });
      this.broadcast({ kind: "message", channel, text: String(n) });
    }
  }

  open(channel: string): void {
    this.channels.add(channel);
    for (const node of this.alive) node.open(channel);
  }

  broadcast(event: FeedEvent): void {
    for (const node of this.alive) node.hear(event);
  }

  /** The lease as Redis keeps it: it runs out half a second after its holder stopped renewing, and then somebody gets it. */
  arbitrate(): void {
    const nowMs = Date.now();
    const holder = this.#holder;
    if (holder !== undefined && (holder.dead || holder.paused || !holder.lease.held)) {
      this.#holder = undefined;
      this.#vacantSinceMs = holder.dead || holder.paused ? nowMs : nowMs - 500;
    }
    if (this.#holder !== undefined || nowMs - this.#vacantSinceMs < 500) return;
    const willing = this.alive.filter((node) => !node.paused && node.abstainsUntilMs <= nowMs);
    const next = willing[Math.floor(this.random() * willing.length)];
    if (next === undefined) return;
    this.#holder = next;
    next.lease.set(true);
  }

  async run(ms: number): Promise<void> {
    for (let left = ms; left > 0; left -= 50) {
      this.arbitrate();
      await pass(Math.min(left, 50));
    }
  }

  async entries(): Promise<LogEntry[]> {
    const { entries } = await this.log.read({ epoch: 0, n: 0 }, 1_000_000);
    return [...entries];
  }

  /** What is in the log, `a1 a2 gap(a,b) b1`. */
  async story(): Promise<string> {
    const entries = await this.entries();
    return entries
      .map((entry) => (isGap(entry) ? `gap(${entry.gap.channels?.join()})` : `${entry.channel}${entry.payload}`))
      .join(" ");
  }
}

export class SimulatedNode {
  readonly relay: Relay;
  readonly lease: NodeLease;
  readonly carried: string[] = [];
  readonly meter = countingMeter();
  dead = false;
  paused = false;
  connected = false;
  abstainsUntilMs = 0;
  readonly #world: World;
  readonly #listening = new Set<string>();
  #listener: FeedListener | undefined;
  #queue: FeedEvent[] = [];
  #pumping = false;
  #awake = Promise.withResolvers<void>();

  constructor(world: World, skewMs: number) {
    this.#world = world;
    this.lease = new NodeLease(this);
    this.#awake.resolve();
    const feed: Feed = {
      name: "feed",
      listen: (listener) => {
        this.#listener = listener;
      },
      sendMark: (mark) => this.#sendMark(mark),
    };
    this.relay = new Relay({
      feed,
      lease: this.lease,
      publisher: { append: (requests) => this.#append(requests) },
      log: world.log,
      ingress: "redis",
      interpret: (channel, text) => [message(channel, Number(text))],
      affected: (channels) => channels ?? [...world.channels, "p"],
      onCarried: (channels) => this.carried.push(...channels),
      meter: this.meter,
      logger: noLogger,
      maxKept: world.maxKept,
      epoch: () => world.epoch,
      now: () => Date.now() + Math.round(skewMs),
    });
  }

  hear(event: FeedEvent): void {
    if (!this.connected) return;
    // "p" comes by a pattern and is never opened.
    if (event.kind === "message" && event.channel !== "p" && !this.#listening.has(event.channel)) return;
    this.#queue.push(event);
    void this.#pump();
  }

  open(channel: string): void {
    if (!this.connected || this.#listening.has(channel)) return;
    this.#listening.add(channel);
    this.hear({ kind: "opened", channel });
  }

  close(channel: string): void {
    this.#listening.delete(channel);
    this.hear({ kind: "closed", channel });
  }

  connect(): void {
    if (this.connected || this.dead) return;
    this.connected = true;
    this.#listener?.interrupted();
    for (const channel of this.#world.channels) this.open(channel);
  }

  disconnect(): void {
    if (!this.connected || this.dead) return;
    this.connected = false;
    this.#queue = [];
    this.#listening.clear();
    this.#listener?.interrupted();
  }

  kill(): void {
    this.dead = true;
    this.#queue = [];
    this.lease.held = false;
  }

  pause(): void {
    if (this.paused || this.dead) return;
    this.paused = true;
    this.#awake = Promise.withResolvers();
  }

  /** It takes a moment until it learns that it holds nothing any more. */
  wake(): void {
    if (!this.paused) return;
    this.paused = false;
    this.#awake.resolve();
    setTimeout(() => {
      if (this.#world.holder !== this) this.lease.set(false);
    }, this.#world.random() * 60);
  }

  async #pump(): Promise<void> {
    if (this.#pumping) return;
    this.#pumping = true;
    while (this.#queue.length > 0) {
      await this.#delay();
      const event = this.#queue.shift();
      const listener = this.#listener;
      if (event === undefined || listener === undefined || this.dead) continue;
      if (event.kind === "message") listener.message(event.channel, event.text);
      else if (event.kind === "mark") listener.mark(event.mark);
      else if (event.kind === "opened") listener.opened(event.channel);
      else listener.closed(event.channel);
    }
    this.#pumping = false;
  }

  async #sendMark(mark: Mark): Promise<void> {
    await this.#delay();
    this.#world.broadcast({ kind: "mark", mark });
    await this.#delay();
  }

  async #append(requests: readonly AppendRequest[]): Promise<AppendResult[]> {
    await this.#delay();
    if (this.#world.appends === "refused") throw new CarillonError("BUS_UNAVAILABLE");
    const results = await this.#world.log.append(requests);
    const unanswered = this.#world.appends === "unanswered";
    await this.#delay();
    if (unanswered) throw new CarillonError("BUS_UNAVAILABLE");
    return results;
  }

  /** What a dead node waits for never comes, and what a standing one waits for comes when it wakes. */
  async #delay(): Promise<void> {
    const ms = this.#world.random() * this.#world.latencyMs;
    await new Promise<void>((resolve) => setTimeout(resolve, ms));
    await this.#awake.promise;
    if (this.dead) await new Promise(() => {});
  }
}

class NodeLease implements Lease {
  held = false;
  readonly #node: SimulatedNode;
  readonly #listeners: ((held: boolean) => void)[] = [];

  constructor(node: SimulatedNode) {
    this.#node = node;
  }

  onChange(listener: (held: boolean) => void): void {
    this.#listeners.push(listener);
  }

  stepDown(): void {
    this.#abstain(2500);
  }

  giveWay(): void {
    this.#abstain(300);
  }

  #abstain(ms: number): void {
    this.#node.abstainsUntilMs = Date.now() + ms;
    this.set(false);
  }

  set(held: boolean): void {
    if (held === this.held || this.#node.dead) return;
    this.held = held;
    for (const listener of this.#listeners) listener(held);
  }
}

/** Whatever can happen to a cluster, `steps` times, and then whatever it takes to come to rest. */
export async function chaos(world: World, steps: number): Promise<void> {
  const { random } = world;
  const any = <T>(items: readonly T[]): T | undefined => items[Math.floor(random() * items.length)];
  const victim = () => (random() < 0.5 ? world.holder : any(world.alive));
  world.latencyMs = any([1, 5, 30])!;
  world.maxKept = any([30, 50_000])!;
  for (let i = 0; i < 3; i++) world.addNode();
  for (let step = 0; step < steps; step++) {
    const dice = random();
    if (dice < 0.55) world.send(any([...world.channels, "p"])!, 1 + Math.floor(random() * 3));
    else if (dice < 0.58) victim()?.kill();
    else if (dice < 0.64 && world.alive.length < 4) world.addNode();
    else if (dice < 0.68) victim()?.pause();
    else if (dice < 0.76) any(world.alive)?.wake();
    else if (dice < 0.79) victim()?.disconnect();
    else if (dice < 0.86) any(world.alive)?.connect();
    else if (dice < 0.88 && world.channels.size < 5) world.open("cde"[world.channels.size - 2]!);
    else if (dice < 0.92) world.appends = any(["refused", "unanswered"] as const)!;
    else if (dice < 0.98) world.appends = "well";
    await world.run(any([0, 1, 5, 20, 100, 600, 1500])!);
    for (const { relay } of world.alive) {
      if (relay.kept > world.maxKept) throw new Error(`${relay.kept} are kept, more than ${world.maxKept}`);
    }
  }
  world.appends = "well";
  world.addNode();
  for (const node of world.alive) {
    node.wake();
    node.connect();
  }
  await world.run(20_000);
}

function prng(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = state;
    t = Math.imul(t ^ (t >>> 15), t | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}
