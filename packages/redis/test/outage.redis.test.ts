import { type RedisServer, startProxy, startRedis, waitFor } from "@carillon/testkit";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { idOf, makeNode, message, type TestNode } from "./nodes.ts";

let redis: RedisServer;
let prefix = "";
let tests = 0;

beforeAll(async () => {
  redis = await startRedis({ appendonly: "always", args: ["--enable-debug-command", "yes"] });
});
afterAll(() => redis.stop());
beforeEach(() => {
  prefix = `t${tests++}`;
});

const hearing = (...nodes: TestNode[]) =>
  waitFor(() => nodes.every(({ bus }) => bus.hearing), { what: "every node to hear the bus", timeoutMs: 15_000 });

/** What one publishes all hear, again: one that fell into a reconnect may be lost, since the bus is a hint. */
async function whole(...nodes: TestNode[]): Promise<void> {
  for (const from of nodes) {
    const tried = new Set<string>();
    await waitFor(
      async () => {
        const { epoch, n } = idOf(await from.log.append([message("whole")]));
        tried.add(`${epoch}-${n}`);
        return nodes.every(({ heard }) => heard.some(({ id }) => tried.has(id)));
      },
      { what: "every node to hear it", timeoutMs: 15_000, everyMs: 50 },
    );
  }
}

describe("Redis", () => {
  test("killed and started again costs an epoch, and appends of meanwhile succeed", async () => {
    const [a, b] = [makeNode("a", { url: redis.url, prefix }), makeNode("b", { url: redis.url, prefix })];
    await hearing(a, b);
    await whole(a, b);
    const before = await a.log.head();

    await redis.kill();
    const meanwhile = Array.from({ length: 20 }, (_, i) => a.log.append([message(i)]));
    await redis.start();
    const ids = (await Promise.all(meanwhile)).map(idOf);

    expect(ids[0]?.epoch).toBeGreaterThan(before.epoch);
    expect(ids.map(({ n }) => n)).toEqual(Array.from({ length: 20 }, (_, i) => i + 1));
    await hearing(a, b);
    await whole(a, b);
    expect(a.subscribed).toBeGreaterThan(1);
  });

  test("wiped costs a higher epoch", async () => {
    const a = makeNode("a", { url: redis.url, prefix });
    const before = idOf(await a.log.append([message(1)]));

    await redis.wipe();

    const after = idOf(await a.log.append([message(2)]));
    expect(after.epoch).toBeGreaterThan(before.epoch);
    expect(after.n).toBe(1);
  });

  test("away from the start is waited for", async () => {
    await redis.kill();
    const a = makeNode("a", { url: redis.url, prefix }, { appendTimeoutMs: 300 });
    await expect(a.log.append([message(1)])).rejects.toMatchObject({ code: "BUS_UNAVAILABLE", retryAfterS: 1 });
    expect(a.bus.hearing).toBe(false);

    await redis.start();

    await hearing(a);
    await whole(a);
  });

  test("frozen is told within the bound, and what was given up is not half done later", async () => {
    const a = makeNode("a", { url: redis.url, prefix }, { appendTimeoutMs: 1_000 });
    await hearing(a);
    const token = { key: "t", fingerprint: "", ttlS: 60 };
    const fence = { source: "s", position: [1, 1] as const };

    redis.freeze();
    const begun = performance.now();
    await expect(
      a.log.append([
        { ...message(1), token },
        { ...message(2), fence },
      ]),
    ).rejects.toMatchObject({ code: "BUS_UNAVAILABLE" });
    expect(performance.now() - begun).toBeLessThan(1_500);
    await waitFor(() => !a.bus.hearing, { what: "the bus to be known as deaf" });
    redis.thaw();

    await hearing(a);
    await a.log.append([
      { ...message(1), token },
      { ...message(2), fence },
    ]);
    expect((await a.log.head()).n).toBe(2);
  });

  test("over maxmemory refuses, and neither writes nor publishes", async () => {
    const a = makeNode("a", { url: redis.url, prefix });
    const admin = redis.client();
    await hearing(a);
    await whole(a);
    const before = await a.log.head();
    const heard = a.heard.length;

    await admin.config("SET", "maxmemory", "1mb");
    try {
      await expect(
        a.log.append([message(1), { ...message(2), token: { key: "k", fingerprint: "", ttlS: 9 } }]),
      ).rejects.toMatchObject({
        code: "BUS_UNAVAILABLE",
      });
      const heads = a.heads.length;
      await waitFor(() => a.heads.length > heads + 2, { what: "heartbeats, which a full Redis still carries" });
    } finally {
      await admin.config("SET", "maxmemory", "0");
      admin.disconnect();
    }

    expect(await a.log.head()).toEqual(before);
    expect(a.heard).toHaveLength(heard);
    expect((await a.log.append([{ ...message(2), token: { key: "k", fingerprint: "", ttlS: 9 } }]))[0]?.outcome).toBe(
      "appended",
    );
  });
});

describe("a connection", () => {
  test.each(["normal", "pubsub"])("killed by Redis (%s) comes back, and nothing is appended twice", async (type) => {
    const [a, b] = [makeNode("a", { url: redis.url, prefix }), makeNode("b", { url: redis.url, prefix })];
    await hearing(a, b);
    const admin = redis.client();

    const appends = [];
    for (let round = 0; round < 10; round++) {
      for (let i = 0; i < 50; i++) appends.push(a.log.append([message(i)]));
      await admin.call("CLIENT", "KILL", "TYPE", type, "SKIPME", "yes");
      await waitFor(() => admin.status === "ready", { what: "the test's own connection" });
    }
    admin.disconnect();
    const ids = (await Promise.all(appends)).map(idOf);

    expect(ids.map(({ n }) => n)).toEqual(Array.from({ length: 500 }, (_, i) => i + 1));
    expect(await a.log.head()).toEqual(ids.at(-1));
    await hearing(a, b);
    await whole(a, b);
  });

  test("that goes nowhere is given up and made anew", async () => {
    const proxy = await startProxy(redis.port);
    const a = makeNode("a", { url: `redis://127.0.0.1:${proxy.port}`, prefix });
    const b = makeNode("b", { url: redis.url, prefix });
    await hearing(a, b);

    proxy.blackhole();
    await waitFor(() => !a.bus.hearing, { what: "the half-open connection to be noticed" });
    await proxy.restore();

    await hearing(a, b);
    await whole(a, b);
    await proxy.close();
  });

  test("whose subscription was dropped in silence is made anew within a few heartbeats", async () => {
    const injector = await startInjector(redis.port);
    const a = makeNode("a", { url: `redis://127.0.0.1:${injector.port}`, prefix });
    const b = makeNode("b", { url: redis.url, prefix });
    await hearing(a, b);
    await whole(a, b);

    injector.unsubscribe(`${prefix}#/#*`);
    const { epoch, n } = idOf(await b.log.append([message("not heard by a")]));

    await waitFor(() => (a.meter.counts.get("busReconnects deaf") ?? 0) > 0, { what: "a to notice", timeoutMs: 4_000 });
    await hearing(a, b);
    await whole(a, b);
    expect(a.heard.some(({ id }) => id === `${epoch}-${n}`)).toBe(false);
    expect(a.heads.some((head) => head.epoch === epoch && head.n >= n)).toBe(true);
    injector.close();
  });
});

test("two prefixes on one Redis don't hear each other", async () => {
  const [a, b] = [
    makeNode("a", { url: redis.url, prefix: `${prefix}x` }),
    makeNode("b", { url: redis.url, prefix: `${prefix}x:y`, db: 1 }),
  ];
  await hearing(a, b);

  await whole(a);
  await whole(b);

  expect(new Set(a.heard.map(({ id }) => id)).isDisjointFrom(new Set(b.heard.map(({ id }) => id)))).toBe(true);
  expect((await a.log.head()).n).toBe(a.heard.length);
  expect((await b.log.head()).n).toBe(b.heard.length);
});

test("entries go by age and by number", async () => {
  const a = makeNode("a", { url: redis.url, prefix }, { retentionS: 2, maxEntries: 1_000 });
  await a.log.append(Array.from({ length: 3_000 }, (_, i) => message(i)));
  const start = { ...(await a.log.head()), n: 0 };
  const { entries } = await a.log.read(start, 1_000);
  expect(Number(entries[0]?.id.split("-")[1])).toBeGreaterThan(1_500);

  await waitFor(async () => (await a.log.read(start, 1_000)).entries.length < 100, {
    what: "old entries to go",
    everyMs: 100,
  });

  expect((await a.log.head()).n).toBe(3_000);
  expect(idOf(await a.log.append([message(1)])).n).toBe(3_001);
});

/** A proxy that can say something to Redis in the name of a subscriber. */
async function startInjector(port: number) {
  const { connect, createServer } = await import("node:net");
  const pairs: { far: import("node:net").Socket; subscriber: boolean }[] = [];
  const server = createServer((near) => {
    const far = connect(port, "127.0.0.1");
    const pair = { far, subscriber: false };
    pairs.push(pair);
    near.on("data", (data) => {
      pair.subscriber ||= data.includes("psubscribe");
      far.write(data);
    });
    far.pipe(near);
    near.on("close", () => far.destroy()).on("error", () => {});
    far.on("close", () => near.destroy()).on("error", () => {});
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const address = server.address();
  return {
    port: typeof address === "object" && address !== null ? address.port : 0,
    unsubscribe(pattern: string) {
      const command = `*2\r\n$12\r\nPUNSUBSCRIBE\r\n$${pattern.length}\r\n${pattern}\r\n`;
      for (const { far, subscriber } of pairs) if (subscriber && !far.destroyed) far.write(command);
    },
    close() {
      for (const { far } of pairs) far.destroy();
      server.close();
    },
  };
}
