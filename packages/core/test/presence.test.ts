import { expect, onTestFinished, test } from "vitest";
import { type Logger, MemoryPresence, type Presence, PresenceTracker, type PresentClient } from "../src/index.ts";
import { type CountingMeter, countingMeter, eventually } from "./support.ts";

interface World {
  readonly store: ScriptedPresence;
  readonly tracker: PresenceTracker;
  readonly meter: CountingMeter;
  /** Users of whom a log line says that they left. */
  readonly left: string[];
}

/** A single node's store that can be away, lose everything, and be asked how often it was written. */
class ScriptedPresence extends MemoryPresence implements Presence {
  away = false;
  lost = true;
  readonly puts: ReadonlyMap<string, readonly PresentClient[] | undefined>[] = [];
  dead: string[] = [];
  readonly sweptAt: number[] = [];
  override leaseMs = 0;

  override async beat(): Promise<boolean> {
    this.#check();
    const { lost } = this;
    if (lost) for (const user of await super.leave()) await super.put(new Map([[user, undefined]]));
    this.lost = false;
    return !lost;
  }

  override async put(changes: ReadonlyMap<string, readonly PresentClient[] | undefined>) {
    this.#check();
    await new Promise((resolve) => setTimeout(resolve, 3));
    if (this.lost) return undefined as never;
    this.puts.push(changes);
    return super.put(changes);
  }

  override async sweep(): Promise<string[]> {
    this.sweptAt.push(performance.now());
    return this.dead.splice(0);
  }

  #check(): void {
    if (this.away) throw new Error("away");
  }
}

function world(graceMs = 60): World {
  const store = new ScriptedPresence("a");
  const meter = countingMeter();
  const left: string[] = [];
  const logger = {
    debug() {},
    info: (fields: object) => void left.push((fields as { user: string }).user),
    warn() {},
    error() {},
  } satisfies Logger;
  const tracker = new PresenceTracker({ presence: store, meter, logger, graceMs, putEveryMs: 5, beatEveryMs: 20 });
  tracker.start();
  onTestFinished(async () => {
    store.away = false;
    await tracker.stop();
  });
  return { store, tracker, meter, left };
}

const clientsOf = async ({ store }: World, user: string) => (await store.read([user])).get(user) ?? [];

test("several tabs and devices of a user are one user with several clients, who leaves once with the last", async () => {
  const here = world();
  const [tab, phone] = [{}, {}];
  here.tracker.connected("u", tab, {});
  here.tracker.connected("u", tab, {});
  here.tracker.connected("u", phone, { installationId: "phone-1" });
  here.tracker.said("u", phone, true);
  await eventually(async () =>
    expect(await clientsOf(here, "u")).toMatchObject([
      { foreground: undefined },
      { foreground: true, installationId: "phone-1" },
    ]),
  );

  here.tracker.disconnected("u", tab);
  here.tracker.disconnected("u", phone);
  await eventually(async () => expect(await clientsOf(here, "u")).toHaveLength(1));
  here.tracker.disconnected("u", tab);
  here.tracker.disconnected("u", tab);

  await eventually(async () => expect(await clientsOf(here, "u")).toEqual([]));
  await eventually(() => expect(here.left).toEqual(["u"]));
  expect([here.meter.sum("presenceJoins"), here.meter.sum("presenceLeaves", { cause: "left" })]).toEqual([1, 1]);
});

test("whoever reloads the page is not there for a moment, and has not left", async () => {
  const here = world(10_000);
  const [before, after] = [{}, {}];
  here.tracker.connected("u", before, {});
  await eventually(async () => expect(await clientsOf(here, "u")).toHaveLength(1));

  here.tracker.disconnected("u", before);
  await eventually(async () => expect(await clientsOf(here, "u")).toHaveLength(0));
  here.tracker.connected("u", after, {});

  await eventually(async () => expect(await clientsOf(here, "u")).toHaveLength(1));
  expect([here.left, here.meter.sum("presenceJoins")]).toEqual([[], 1]);
});

test("users who stay cost no writes, and many who come at once few", async () => {
  const here = world();
  for (let i = 0; i < 2000; i++) here.tracker.connected(`u${i}`, {}, {});
  await eventually(() => expect(here.meter.sum("presenceJoins")).toBe(2000));
  const { length } = here.store.puts;
  expect(length).toBeLessThan(20);

  await new Promise((resolve) => setTimeout(resolve, 100)); // five beats

  expect(here.store.puts.length).toBe(length);
});

test("what changed while the store was away is put when it is back", async () => {
  const here = world();
  const [stays, goes] = [{}, {}];
  here.tracker.connected("stays", stays, {});
  here.tracker.connected("goes", goes, {});
  await eventually(() => expect(here.meter.sum("presenceJoins")).toBe(2));

  here.store.away = true;
  here.tracker.said("stays", stays, false);
  here.tracker.disconnected("goes", goes);
  here.tracker.connected("comes", {}, {});
  await new Promise((resolve) => setTimeout(resolve, 100));
  here.store.away = false;

  await eventually(async () => {
    expect(await clientsOf(here, "stays")).toMatchObject([{ foreground: false }]);
    expect(await clientsOf(here, "comes")).toHaveLength(1);
    expect(here.left).toEqual(["goes"]);
  });
});

test("a store that lost everything gets everything again", async () => {
  const here = world();
  for (let i = 0; i < 700; i++) here.tracker.connected(`u${i}`, {}, {});
  await eventually(() => expect(here.meter.sum("presenceJoins")).toBe(700));

  here.store.lost = true;

  await eventually(async () => {
    expect(here.meter.sum("presenceRebuilds")).toBeGreaterThanOrEqual(1);
    expect((await here.store.read(Array.from({ length: 700 }, (_, i) => `u${i}`))).size).toBe(700);
  });
  expect(here.left).toEqual([]);
});

test("the users of dead nodes are told as left", async () => {
  const here = world();
  here.store.dead = ["x", "y"];

  await eventually(() => expect(here.left).toEqual(["x", "y"]));

  expect(here.meter.sum("presenceLeaves", { cause: "node_lost" })).toBe(2);
});

test("after the store was away nobody is taken for dead before all had the time to say that they live", async () => {
  const here = world();
  here.store.leaseMs = 300;
  await eventually(() => expect(here.store.sweptAt.length).toBeGreaterThan(0));

  here.store.away = true;
  await new Promise((resolve) => setTimeout(resolve, 60));
  const backAt = performance.now();
  const { length } = here.store.sweptAt;
  here.store.away = false;

  await eventually(() => expect(here.store.sweptAt.length).toBeGreaterThan(length));
  expect(here.store.sweptAt[length]! - backAt).toBeGreaterThanOrEqual(300);
});

test("more clients of one user than can be shown are counted, and those in the foreground are shown", async () => {
  const here = world();
  const clients = Array.from({ length: 150 }, () => ({}));
  for (const client of clients) here.tracker.connected("u", client, {});
  here.tracker.said("u", clients[149]!, true);

  await eventually(async () => {
    const shown = await clientsOf(here, "u");
    expect(shown).toHaveLength(100);
    expect(shown[0]).toMatchObject({ foreground: true });
  });
  expect(here.meter.sum("drops", { reason: "presence_clients" })).toBeGreaterThanOrEqual(1);
});

test("a node that stops takes its users along, and what its clients do afterwards is no matter", async () => {
  const here = world();
  const client = {};
  here.tracker.connected("u", client, {});
  await eventually(() => expect(here.meter.sum("presenceJoins")).toBe(1));

  await here.tracker.stop();
  here.tracker.disconnected("u", client);

  expect(here.left).toEqual(["u"]);
});
