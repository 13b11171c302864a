import { type RedisServer, startRedis, waitFor } from "@carillon/testkit";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { startInjector } from "./injector.ts";
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

  test("that loses answers costs nothing: what was appended is not appended again", async () => {
    const injector = await startInjector(redis.port);
    const a = makeNode("a", { url: `redis://127.0.0.1:${injector.port}`, prefix });
    await hearing(a);

    const ids = [];
    for (let round = 0; round < 5; round++) {
      injector.loseAnswers();
      ids.push(...(await Promise.all([a.log.append([message(round)]), a.log.append([message(round)])])).map(idOf));
    }

    expect(ids.map(({ n }) => n)).toEqual(Array.from({ length: 10 }, (_, i) => i + 1));
    expect(await a.log.head()).toEqual(ids.at(-1));
    injector.close();
  });

  test("to a master that was demoted is given up, and nobody believes that it is heard", async () => {
    const a = makeNode("a", { url: redis.url, prefix }, { appendTimeoutMs: 500 });
    await hearing(a);
    const admin = redis.client();

    await admin.replicaof("127.0.0.1", 1);
    await waitFor(() => !a.bus.hearing, { what: "the bus to be known as deaf" });
    await expect(a.log.append([message(1)])).rejects.toMatchObject({ code: "BUS_UNAVAILABLE" });
    await admin.replicaof("NO", "ONE");
    admin.disconnect();

    await hearing(a);
    await whole(a);
  });

  test("that is half open is given up and made anew, before a caller gives up", async () => {
    const injector = await startInjector(redis.port);
    const a = makeNode("a", { url: `redis://127.0.0.1:${injector.port}`, prefix });
    const b = makeNode("b", { url: redis.url, prefix });
    await hearing(a, b);

    injector.hang();
    await waitFor(() => !a.bus.hearing, { what: "the silence to be noticed" });

    expect(await a.log.append([message(1)])).toMatchObject([{ outcome: "appended" }]);
    await hearing(a, b);
    await whole(a, b);
    injector.close();
  });

  test("whose subscription was dropped in silence is made anew within a few heartbeats", async () => {
    const injector = await startInjector(redis.port);
    const a = makeNode("a", { url: `redis://127.0.0.1:${injector.port}`, prefix });
    const b = makeNode("b", { url: redis.url, prefix });
    await hearing(a, b);
    await whole(a, b);

    injector.say(`PUNSUBSCRIBE ${prefix}#/#*`);
    const listeners = () => b.connections.commands.run((redis) => redis.publish(`${prefix}#/#nobody#`, ""));
    await waitFor(async () => (await listeners()) === 1, { what: "Redis to have dropped it", everyMs: 1 });
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

  for (const i of [1, 2, 3]) {
    await a.log.append([message(`a${i}`)]);
    await b.log.append([message(`b${i}`)]);
  }
  await waitFor(() => a.heard.length >= 3 && b.heard.length >= 3, { what: "both to hear their own" });

  const payloads = ({ heard }: TestNode) => heard.map((entry) => "payload" in entry && entry.payload);
  expect(payloads(a)).toEqual(['"a1"', '"a2"', '"a3"']);
  expect(payloads(b)).toEqual(['"b1"', '"b2"', '"b3"']);
  expect((await a.log.head()).n).toBe(3);
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
