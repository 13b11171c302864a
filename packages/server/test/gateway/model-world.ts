/** Nodes in one process that share a log: what is broadcast may be lost or late, and the store takes its time. */
import { type Broadcast, History, MemoryLog, MemorySessions, noLogger, noMeter, Ring, Sequencer } from "@carillon/core";
import { type JsonText, type Position, parseId } from "@carillon/protocol";
import { openPolicy, openPrincipal } from "../../src/auth/open.ts";
import { CatchUp } from "../../src/gateway/catch-up.ts";
import type { Connection } from "../../src/gateway/connection.ts";
import type { Codec } from "../../src/gateway/frames.ts";
import { Gateway } from "../../src/gateway/gateway.ts";
import { Laggards } from "../../src/gateway/laggards.ts";
import { PlainHub } from "../../src/gateway/plain/hub.ts";
import { gapText, publicationText, readyText } from "../../src/gateway/plain/messages.ts";
import { Replay } from "../../src/gateway/replay.ts";
import { Requests } from "../../src/gateway/requests.ts";
import { SessionKeeper } from "../../src/gateway/session-keeper.ts";
import { random } from "./fakes.ts";
import { frame } from "./model-pipe.ts";

export const CHANNELS = ["a", "b", "c"];
export const ROOMS = ["r", "s"];

const codec: Codec = {
  publication: (publication, options) => frame(publicationText(publication, options)),
  gap: (channels, id) => frame(gapText(channels, id)),
  ready: (argument, id) => frame(readyText(argument, id)),
};

export const turn = () => new Promise((resolve) => setImmediate(resolve));

export class World {
  readonly chance: ReturnType<typeof random>;
  readonly log = new MemoryLog({ maxEntries: 150 });
  readonly sessions = new MemorySessions();
  readonly nodes: Awaited<ReturnType<World["node"]>>[] = [];
  readonly published: { n: number; channel: string; room?: string }[] = [];

  /** Every other world has little time for writes. */
  readonly sliceSize: number;

  constructor(seed: number) {
    this.chance = random(seed);
    this.sliceSize = seed % 2 === 0 ? 2 : 1000;
  }

  /** Now and then something takes a few turns of the event loop. */
  async someTurns(): Promise<void> {
    for (let turns = this.chance.below(4); turns > 0; turns--) await turn();
  }

  async node(name: string) {
    const { log, chance } = this;
    const ring = new Ring({ maxEntries: 20, maxBytes: 1e9 });
    const shared = { log, meter: noMeter, logger: noLogger };
    const sequencer = new Sequencer({ ...shared, ring, preload: 20 });
    log.listen({
      broadcast: (broadcast: Broadcast) => {
        const fate = chance.below(10);
        if (fate === 0) return;
        if (fate < 3) setTimeout(() => sequencer.broadcast(broadcast), chance.below(30));
        else sequencer.broadcast(broadcast);
      },
      head: () => {},
      subscribed: () => {},
    });
    await sequencer.start();
    const history = new History({ ...shared, ring, position: () => sequencer.position });
    const inMemory = (position: Position) => ring.after(position) !== undefined;
    const laggards = new Laggards({ ...shared, inMemory, here: () => sequencer.position });
    const settled = (connection: Connection) => gateway.settled(connection);
    const slowly = async <T>(done: Promise<T>): Promise<T> => {
      await this.someTurns();
      return done;
    };
    const sessions = new SessionKeeper({
      sessions: {
        save: (pid, record) => slowly(this.sessions.save(pid, record)),
        load: (pid) => slowly(this.sessions.load(pid)),
        touch: (pids) => this.sessions.touch(pids),
      },
      policy: openPolicy,
      settled,
      logger: noLogger,
      retentionMs: 60_000,
      logMaxEntries: 150,
    });
    const spreadMs = () => undefined;
    const more = { ...shared, history, sequencer, spreadMs };
    const catchUp = new CatchUp({
      ...more,
      laggards,
      inMemory,
      highWaterMarkBytes: 600,
      maxBytes: 20_000,
      maxHeldBytes: 1e6,
    });
    const interest = { acquire: () => slowly(Promise.resolve(() => {})) };
    const requests = new Requests({
      ...more,
      namespaces: new Set(),
      policy: openPolicy,
      interest,
      sessions,
      replay: new Replay({ ...more, settled, maxBytes: 20_000 }),
      publisher: { publish: () => Promise.reject(new Error("nobody asks for it")) },
      publishing: false,
      hooks: { state: () => {}, seen: () => {}, refreshAuth: async () => {} },
      limits: { subscriptions: 10, rooms: 10, unsentBytes: 1e9 },
    });
    const hub = new PlainHub("model", codec);
    const gateway: Gateway = new Gateway({
      ...more,
      io: {
        of: () => {
          throw new Error("there are no namespaces");
        },
      },
      refreshNamespaces: [],
      channelNamespaces: [],
      plainHubs: [hub],
      node: name,
      authenticator: { authenticate: async () => openPrincipal("u") },
      revocations: { isRevoked: () => false },
      policy: openPolicy,
      catchUp,
      laggards,
      requests,
      sessions,
      interest,
      spread: { enabled: false, ms: () => undefined },
      attendance: { arrived: () => {}, left: () => {} },
      sliceSize: this.sliceSize,
      highWaterMarkBytes: 600,
    });
    return { sequencer, gateway, requests, hub, sessions };
  }

  async publish(): Promise<void> {
    const { below, pick } = this.chance;
    const drafts = Array.from({ length: 1 + below(below(8) === 0 ? 40 : 3) }, () => {
      const channel = pick(CHANNELS);
      const payload = JSON.stringify("x".repeat(below(100))) as JsonText;
      return below(3) === 0 ? { channel, payload, to: { rooms: [pick(ROOMS)] } } : { channel, payload };
    });
    const results = await this.log.append(drafts.map((draft) => ({ draft })));
    results.forEach((result, index) => {
      const { channel, to } = drafts[index]! as { channel: string; to?: { rooms: string[] } };
      const { n } = parseId((result as { id: string }).id)!;
      this.published.push({ n, channel, ...(to && { room: to.rooms[0]! }) });
    });
  }

  async heads(): Promise<void> {
    const head = await this.log.head();
    for (const { sequencer } of this.nodes) sequencer.head(head);
  }
}
