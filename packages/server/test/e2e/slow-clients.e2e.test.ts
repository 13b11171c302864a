/** Clients that stop reading: off the live path, back merged and whole, or told; and nobody else feels it. */
import {
  freePort,
  inspect,
  type NodeServer,
  type RedisServer,
  startNode,
  startRedis,
  waitFor,
} from "@carillon/testkit";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { batch, compareIds, eventOf, ids, join, Raw, refresh, scopes } from "./kit.ts";

const KB = "x".repeat(1000);
let redis: RedisServer;
let node: NodeServer;
const opened: { close(): void }[] = [];

async function start(env: Record<string, string> = {}): Promise<void> {
  node = await startNode({
    REDIS_URL: redis.url,
    COALESCE_MS: "0",
    ROLES: "gateway",
    HIGH_WATER_BYTES: "65536",
    ...env,
  });
}

beforeEach(async () => {
  redis = await startRedis();
});
afterEach(async () => {
  for (const client of opened.splice(0)) client.close();
  await node.stop();
  await redis.stop();
});

async function subscriber(): Promise<Raw> {
  const raw = await Raw.open(node.url);
  opened.push(raw);
  raw.send("40/channels,");
  await raw.next('42/channels,["ready"');
  raw.send('42/channels,1["subscribe",{"channel":"big"}]');
  await raw.next("43/channels,1");
  raw.frames.length = 0;
  return raw;
}

const stopReading = ({ socket }: Raw) => void socket.pause();
const readOn = ({ socket }: Raw) => void socket.resume();
const slow = () => node.metric("carillon_slow_connections");
const heard = ({ frames }: Raw) =>
  frames.filter((frame) => frame.startsWith('42/channels,["notification"')).map((frame) => eventOf(frame)[2] as string);

/** Publishes until the node has put `count` connections off the live path and leaves them there: what the kernel buffers differs by machine. */
async function publishUntilBehind(count: number, channel = "big"): Promise<string[]> {
  const published: string[] = [];
  let times = 0;
  await waitFor(
    async () => {
      published.push(
        ...(await batch(
          node.url,
          Array.from({ length: 50 }, () => ({ channel, payload: KB.repeat(10) })),
        )),
      );
      await new Promise((resolve) => setTimeout(resolve, 400)); // the gauge is sampled each second
      times = (await slow()) === count ? times + 1 : 0;
      return times === 5;
    },
    { what: `${count} connections to be behind`, timeoutMs: 60_000 },
  );
  return published;
}

test("a client that stopped reading gets everything in order when it reads on, and others hear at once meanwhile", async () => {
  await start();
  const lazy = await subscriber();
  const healthy = join(node.url, "/channels");
  opened.push(healthy);
  await healthy.ready;
  await healthy.ask("subscribe", { channel: "big" });
  stopReading(lazy);

  const published = await publishUntilBehind(1);
  published.push(
    ...(await batch(
      node.url,
      Array.from({ length: 100 }, () => ({ channel: "big", payload: KB })),
    )),
  );
  await waitFor(() => ids(healthy.events).length === published.length, { what: "the healthy client to have all" });
  readOn(lazy);

  await waitFor(() => heard(lazy).length >= published.length, {
    what: "the slow client to have all",
    timeoutMs: 20_000,
  });
  expect(heard(lazy)).toEqual(published);
  expect(ids(healthy.events)).toEqual(published);
  await waitFor(async () => (await slow()) === 0, { what: "nobody to be behind" });
  published.push(...(await batch(node.url, [{ channel: "big", payload: 1 }])));
  await waitFor(() => heard(lazy).at(-1) === published.at(-1), { what: "live delivery" });
});

test("what it missed comes merged, and namespaces on one transport share its budget", async () => {
  await start();
  const client = join(node.url, "/channels");
  const trips = client.socket.io.socket("/trips", {});
  const heardOnTrips: { event: string; args: unknown[] }[] = [];
  trips.onAny((event, ...args) => heardOnTrips.push({ event, args }));
  opened.push(client);
  await client.ready;
  await waitFor(() => heardOnTrips.some(({ event }) => event === "ready"), { what: "ready on /trips" });
  await client.ask("subscribe", { channel: "big" });
  const { _socket: tcp } = (
    client.socket.io.engine.transport as unknown as { ws: { _socket: import("node:net").Socket } }
  ).ws;
  tcp.pause();
  await publishUntilBehind(1);

  await batch(
    node.url,
    Array.from({ length: 20 }, () => ({ channel: "trips", payload: KB.repeat(10) })),
  );
  await waitFor(async () => (await slow()) === 2, { what: "both namespaces to be behind" });
  const refreshes: string[] = [];
  for (let n = 0; n < 200; n++) refreshes.push(...(await batch(node.url, [{ channel: "trips", scope: `S_${n % 4}` }])));
  tcp.resume();
  await waitFor(() => heardOnTrips.some(({ args }) => args[1] === refreshes.at(-1)), { what: "the last refresh" });

  const events = heardOnTrips.filter(({ event }) => event === "refresh") as never[];
  expect(scopes(events)).toEqual(["S_0", "S_1", "S_2", "S_3"]);
  expect(ids(events)).toEqual(refreshes.slice(-4));
});

test("what a channel had since an id is heard once, also by who falls behind over it", {
  timeout: 120_000,
}, async () => {
  await start();
  const lazy = await Raw.open(node.url);
  opened.push(lazy);
  lazy.send("40/channels,");
  let since = eventOf(await lazy.next('42/channels,["ready"'))[2] as string;
  stopReading(lazy);
  const published: string[] = [];
  const replayed = () => node.metric("carillon_deliveries_total", { kind: "replay" });

  // Until what nobody reads no longer fits between the two: then a live one finds the connection where it was before the replay.
  for (let n = 1; (await slow()) === 0 && n <= 20; n++) {
    const publications = Array.from({ length: 150 }, () => ({ channel: `c${n}`, payload: KB.repeat(10) }));
    published.push(...(await batch(node.url, publications)));
    lazy.send(`42/channels,${n}["subscribe",{"channel":"c${n}","since":"${since}"}]`);
    await waitFor(async () => (await replayed()) === 150 * n, { what: `replay ${n}`, timeoutMs: 20_000 });
    [since] = (await batch(node.url, [{ channel: `c${n}`, payload: "live" }])) as [string];
    published.push(since);
    await new Promise((resolve) => setTimeout(resolve, 1500)); // the gauge is sampled each second
  }
  expect(await slow()).toBe(1);
  readOn(lazy);

  const told = () =>
    lazy.frames
      .filter((frame) => frame.startsWith('42/channels,["notification"'))
      .map(eventOf)
      .map(([, { id }, trailing]) => id ?? trailing);
  await waitFor(() => told().includes(since), { what: "the last", timeoutMs: 20_000 });
  await waitFor(async () => (await slow()) === 0, { what: "nobody to be behind" });
  expect(told()).toEqual(published);
});

test("one that stays behind longer than the log reaches is closed and counted", async () => {
  await start({ LOG_MAX_ENTRIES: "100", RING_MAX_ENTRIES: "16" });
  const lazy = await subscriber();
  stopReading(lazy);

  await waitFor(
    async () => {
      await batch(
        node.url,
        Array.from({ length: 100 }, () => ({ channel: "big", payload: KB.repeat(10) })),
      );
      return (await node.metric("carillon_slow_closed_total")) === 1;
    },
    { what: "it to be closed", timeoutMs: 60_000, everyMs: 200 },
  );

  await waitFor(async () => (await node.metric("carillon_transports", { transport: "websocket" })) === 0, {
    what: "its transport to be gone",
  });
});

describe("memory", () => {
  test("reaches a plateau while many don't read, and they are whole or told afterwards", {
    timeout: 240_000,
  }, async () => {
    const inspectPort = await freePort();
    await start({ RING_MAX_ENTRIES: "1000", NODE_OPTIONS: `--inspect=127.0.0.1:${inspectPort}` });
    const inspector = await inspect(inspectPort);
    const lazy = await Promise.all(Array.from({ length: 100 }, subscriber));
    for (const client of lazy) stopReading(client);
    let last = "";
    const publish = async (count: number) => {
      const publications = Array.from({ length: count }, () => ({ channel: "big", payload: KB.repeat(3) }));
      last = (await batch(node.url, publications, 100)).at(-1)!;
    };

    await publish(5000);
    await waitFor(async () => (await slow()) === 100, { what: "all of them to be behind", timeoutMs: 30_000 });
    const before = await inspector.liveBytes();
    await publish(5000);
    const growth = (await inspector.liveBytes()) - before;
    inspector.close();
    for (const client of lazy) readOn(client);

    // Less than half of one copy for all of them.
    expect(growth).toBeLessThan((5000 * 3000) / 2);
    await waitFor(() => lazy.every(({ frames }) => frames.some((frame) => frame.includes(last))), {
      what: "all to have read",
      timeoutMs: 120_000,
    });
    for (const client of lazy) {
      const told = client.frames.filter((frame) => frame.startsWith("42"));
      const order = told.map((frame) => eventOf(frame)[2] as string);
      expect([...order].sort(compareIds)).toEqual(order);
      expect(new Set(order).size).toBe(order.length);
      if (heard(client).length < 10_000)
        expect(told.some((frame) => frame.startsWith('42/channels,["gap"'))).toBe(true);
    }
  });
});

test("a client that asks without reading the answers is ended", async () => {
  await start({ MESSAGES_PER_S: "100000" });
  const greedy = await subscriber();
  stopReading(greedy);
  const request = `42/channels,7["join",{"channel":"big","room":"${"x".repeat(128)}"}]`;

  await waitFor(
    async () => {
      for (let n = 0; n < 500 && greedy.socket.readyState === greedy.socket.OPEN; n++) greedy.send(request);
      return (await node.metric("carillon_slow_closed_total")) === 1;
    },
    { what: "it to be ended", timeoutMs: 60_000 },
  );

  await refresh(node.url, "trips", "STILL_UP");
});
