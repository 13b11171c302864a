/** SIGTERM: red at once, nobody new, everybody elsewhere by themselves, exit 0 in time; whatever is away meanwhile. */
import { api, type NodeServer, type RedisServer, startNode, startProxy, startRedis, waitFor } from "@carillon/testkit";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { batch, compareIds, ids, join, moveTo, Raw, refresh } from "./kit.ts";

const TIMEOUT_S = 6;
let redis: RedisServer;
let env: Record<string, string>;
const running: NodeServer[] = [];
const opened: { close(): void }[] = [];

beforeEach(async () => {
  redis = await startRedis();
  env = {
    REDIS_URL: redis.url,
    COALESCE_MS: "0",
    ROLES: "gateway",
    DRAIN_TIMEOUT_S: `${TIMEOUT_S}`,
    CONNECTS_PER_S: "5000",
  };
});
afterEach(async () => {
  for (const client of opened.splice(0)) client.close();
  await Promise.all(running.splice(0).map((node) => node.kill()));
  await redis.kill();
});

async function start(more: Record<string, string> = {}): Promise<NodeServer> {
  const node = await startNode({ ...env, ...more });
  running.push(node);
  return node;
}

function kept<T extends { close(): void }>(client: T): T {
  opened.push(client);
  return client;
}

/** Seconds from SIGTERM to the exit, and its code. */
async function drained(node: NodeServer): Promise<{ code: number | null; seconds: number }> {
  const startedAt = performance.now();
  const { code } = await node.stop();
  return { code, seconds: (performance.now() - startedAt) / 1000 };
}

test("500 clients of every kind are elsewhere by themselves, whole, and the node ends with 0 in time", async () => {
  const [leaves, stays] = (await Promise.all([start(), start()])) as [NodeServer, NodeServer];
  const proxy = await startProxy(leaves.port);
  const stock = Array.from({ length: 200 }, (_, n) =>
    kept(join(leaves.url, "/trips", n % 4 === 0 ? "polling" : "websocket", { auth: { user: `${n}` } })),
  );
  const raws = await Promise.all(Array.from({ length: 250 }, () => Raw.open(leaves.url)));
  const halfOpen = await Promise.all(Array.from({ length: 50 }, () => Raw.open(`http://127.0.0.1:${proxy.port}`)));
  for (const raw of [...raws, ...halfOpen]) kept(raw).send("40/trips,");
  await Promise.all([
    ...stock.map(({ ready }) => ready),
    ...[...raws, ...halfOpen].map((raw) => raw.next('42/trips,["ready"')),
  ]);
  await Promise.all(
    stock.map(async (client, n) => expect(await client.ask("join", { room: `trip:${n}` })).toMatchObject({ ok: true })),
  );
  proxy.blackhole();
  for (const client of stock) moveTo(client, stays.url);
  const published: string[] = [];
  let publishing = true;
  const publisher = (async () => {
    while (publishing) {
      published.push(...(await batch(stays.url, [{ channel: "trips", payload: published.length }])));
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  })();

  const ending = drained(leaves);
  await waitFor(async () => (await leaves.readyz()).status === 503, { what: "readiness to be red", timeoutMs: 1000 });
  const refused = await api(leaves.url).get("/socket.io/?EIO=4&transport=polling");
  const { code, seconds } = await ending;
  publishing = false;
  await publisher;

  expect(refused).toMatchObject({ status: 503, body: { code: "DRAINING" } });
  expect(Number(refused.headers.get("retry-after"))).toBeGreaterThan(0);
  expect(code).toBe(0);
  expect(seconds).toBeLessThan(TIMEOUT_S);
  for (const raw of raws) expect(raw.closed).toBe(true);
  await waitFor(() => stock.every((client) => ids(client.events).at(-1) === published.at(-1)), {
    what: "everybody to have the last",
    timeoutMs: 20_000,
  });
  for (const [n, client] of stock.entries()) {
    expect(ids(client.events)).toEqual([...published].sort(compareIds));
    const readies = client.events.filter(({ event }) => event === "ready");
    expect(readies).toHaveLength(2);
    expect(readies[1]!.args[0]).toMatchObject({ recovered: true, rooms: [`user:${n}`, `trip:${n}`] });
  }
  await proxy.close();
});

test("they leave at a pace and not all at once", async () => {
  const [leaves, stays] = (await Promise.all([start(), start()])) as [NodeServer, NodeServer];
  const clients = Array.from({ length: 200 }, () => kept(join(leaves.url, "/trips")));
  const leftAt: number[] = [];
  for (const client of clients) client.socket.on("disconnect", () => leftAt.push(performance.now()));
  await Promise.all(clients.map(({ ready }) => ready));
  for (const client of clients) moveTo(client, stays.url);

  const { code } = await drained(leaves);

  expect(code).toBe(0);
  expect(leftAt).toHaveLength(200);
  expect(Math.max(...leftAt) - Math.min(...leftAt)).toBeGreaterThan(500);
  await waitFor(() => clients.every(({ socket }) => socket.connected), { what: "all to be back" });
});

test("what was asked for before is answered, over HTTP and on sockets", async () => {
  const node = await start();
  const client = kept(join(node.url, "/channels"));
  await client.ready;
  redis.freeze();
  const overHttp = api(node.url).post("/api/notifications/orders", 1);
  const onSocket = client.ask("publish", { channel: "orders", payload: 2 });
  await new Promise((resolve) => setTimeout(resolve, 100)); // both are on their way

  const ending = drained(node);
  await waitFor(async () => (await node.readyz()).status === 503, { what: "readiness to be red" });
  redis.thaw();

  expect((await overHttp).status).toBe(202);
  expect(await onSocket).toMatchObject({ ok: true });
  expect(await ending).toMatchObject({ code: 0 });
});

describe.each(["killed", "frozen"])("with Redis %s", (how) => {
  test("the node ends with 0 in time", async () => {
    const node = await start();
    const clients = Array.from({ length: 20 }, (_, n) =>
      kept(join(node.url, "/trips", n % 2 === 0 ? "polling" : "websocket")),
    );
    await Promise.all(clients.map(({ ready }) => ready));
    if (how === "killed") await redis.kill();
    else redis.freeze();
    const publishing = refresh(node.url, "trips", "LOST").catch((error: unknown) => error);

    const { code, seconds } = await drained(node);

    expect(code).toBe(0);
    expect(seconds).toBeLessThan(TIMEOUT_S);
    if (how === "frozen") redis.thaw();
    await publishing;
  });
});

test("clients that don't read are no reason to stay", async () => {
  const node = await start({ HIGH_WATER_BYTES: "10000000" });
  const lazy = await Promise.all(Array.from({ length: 10 }, () => Raw.open(node.url)));
  for (const raw of lazy) {
    kept(raw).send("40/channels,");
    await raw.next('42/channels,["ready"');
    raw.send('42/channels,1["subscribe",{"channel":"big"}]');
    await raw.next("43/channels,1");
    raw.socket.pause();
  }
  await batch(
    node.url,
    Array.from({ length: 300 }, () => ({ channel: "big", payload: "x".repeat(50_000) })),
    10,
  );

  const { code, seconds } = await drained(node);

  expect(code).toBe(0);
  expect(seconds).toBeLessThan(TIMEOUT_S);
});

test("a second signal ends it at once", async () => {
  const node = await start({ DRAIN_TIMEOUT_S: "60", DRAIN_DELAY_S: "30" });
  process.kill(node.pid, "SIGTERM");
  await waitFor(async () => (await node.readyz()).status === 503, { what: "readiness to be red" });

  const { code, seconds } = await drained(node);

  expect(code).not.toBe(0);
  expect(seconds).toBeLessThan(1);
});

test("the port is free at once for the next one", async () => {
  const node = await start();
  const { port } = node;
  kept(join(node.url, "/trips"));
  await drained(node);

  const next = await start({ PORT: `${port}` });

  expect(next.port).toBe(port);
});
