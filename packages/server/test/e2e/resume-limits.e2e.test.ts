/** Where the log does not reach (guarantee 4): told with its position, on every path; and where little was heard, no gap is made up. */
import { type NodeServer, startNode, startRedis, waitFor } from "@carillon/testkit";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { away, batch, compareIds, eventOf, ids, join, message, Raw, refresh, scopes } from "./kit.ts";

const many = (count: number, more: object = {}) =>
  Array.from({ length: count }, (_, n) => ({ channel: "trips", scope: `S_${n}`, ...more }));

describe("a log that was trimmed", () => {
  let stop: () => Promise<unknown>;
  let a: NodeServer;
  let b: NodeServer;

  beforeAll(async () => {
    const redis = await startRedis();
    const env = {
      REDIS_URL: redis.url,
      COALESCE_MS: "0",
      ROLES: "gateway",
      LOG_MAX_ENTRIES: "100",
      RING_MAX_ENTRIES: "16",
    };
    [a, b] = await Promise.all([startNode(env), startNode(env)]);
    stop = async () => {
      await Promise.all([a.stop(), b.stop()]);
      await redis.stop();
    };
  });
  afterAll(() => stop?.());

  test("on a refresh namespace is ALL with its position, then live", async () => {
    const client = join(a.url, "/trips");
    await client.ready;
    let last = "";

    const events = await away(
      client,
      async () => {
        last = (await batch(a.url, many(2000))).at(-1)!;
      },
      b.url,
    );

    expect(events.slice(0, -1).map(({ args }) => args)).toEqual([[{ type: "REFRESH", scope: "ALL" }, last]]);
    expect(events.at(-1)!.args).toMatchObject([{ recovered: false }, last]);
    const id = await refresh(a.url, "trips", "LIVE");
    expect((await client.next("refresh", ({ scope }) => scope === "LIVE")).args[1]).toBe(id);
    client.close();
  });

  test("on /channels is a gap with its position, and a since out of reach a gap for its channel", async () => {
    const client = join(a.url, "/channels");
    await client.ready;
    await client.ask("subscribe", { channel: "trips" });
    let published: string[] = [];

    const events = await away(
      client,
      async () => {
        published = await batch(a.url, many(2000));
      },
      b.url,
    );
    const old = join(b.url, "/channels");
    await old.ready;
    const ack = await old.ask("subscribe", { channel: "trips", since: published[0] });

    expect(events.slice(0, -1).map(({ event, args }) => [event, ...args])).toEqual([["gap", {}, published.at(-1)]]);
    expect(events.at(-1)!.args[0]).toMatchObject({ recovered: false, channels: ["trips"] });
    expect(ack).toMatchObject({ ok: true, recovered: false, id: published.at(-1) });
    expect((await old.next("gap")).args).toEqual([{ channels: ["trips"] }, published.at(-1)]);
    client.close();
    old.close();
  });

  test("is read from Redis where it is beyond the ring but not trimmed", async () => {
    const client = join(a.url, "/trips");
    await client.ready;
    let published: string[] = [];

    const events = await away(
      client,
      async () => {
        published = await batch(a.url, many(60));
      },
      b.url,
    );

    expect(ids(events)).toEqual(published);
    expect(events.at(-1)!.args[0].recovered).toBe(true);
    client.close();
  });
});

test("Redis that was wiped is told as a gap, and numbers that begin anew are not taken for a continuation", async () => {
  const redis = await startRedis();
  const node = await startNode({ REDIS_URL: redis.url, COALESCE_MS: "0", ROLES: "gateway" });
  const client = join(node.url, "/trips");
  const stays = join(node.url, "/trips");
  await Promise.all([client.ready, stays.ready]);
  for (let n = 0; n < 5; n++) await refresh(node.url, "trips", `BEFORE_${n}`);
  await client.next("refresh", ({ scope }) => scope === "BEFORE_4");

  const events = await away(client, async () => {
    await redis.wipe();
    await waitFor(async () => (await node.readyz()).status === 200, {
      what: "the node to hear the new Redis",
      timeoutMs: 20_000,
    });
    for (let n = 0; n < 8; n++)
      await waitFor(() => refresh(node.url, "trips", `AFTER_${n}`), { what: "a publication" });
    // Until the node knows of the new epoch it takes the client for whole, and tells it with all others a moment later.
    await stays.next("refresh", ({ scope }) => scope === "ALL");
  });

  expect(scopes(events)).toEqual(["ALL"]);
  expect(events.at(-1)!.args[0].recovered).toBe(false);
  const heard = stays.events.map(({ args }) => args[1]);
  expect([...heard].sort(compareIds)).toEqual(heard);
  expect(new Set(ids(stays.events)).size).toBe(ids(stays.events).length);
  client.close();
  stays.close();
  await node.stop();
  await redis.stop();
});

test("who is connected while Redis forgets an epoch that its clock is behind is told, and hears on", async () => {
  const redis = await startRedis();
  const client = redis.client();
  await client.hset("{carillon}:meta", { run: "another", e: Date.now() + 3_600_000 });
  client.disconnect();
  const node = await startNode({ REDIS_URL: redis.url, COALESCE_MS: "0", ROLES: "gateway" });
  const stays = join(node.url, "/trips");
  await stays.ready;
  await refresh(node.url, "trips", "BEFORE");
  await stays.next("refresh", ({ scope }) => scope === "BEFORE");

  await redis.wipe();
  await stays.next("refresh", ({ scope }) => scope === "ALL");
  await waitFor(() => refresh(node.url, "trips", "AFTER"), { what: "a publication" });
  await stays.next("refresh", ({ scope }) => scope === "AFTER");

  stays.close();
  await node.stop();
  await redis.stop();
});

describe("a session that the node remembers", () => {
  let node: NodeServer;
  let stop: () => Promise<unknown>;

  beforeAll(async () => {
    const redis = await startRedis();
    node = await startNode({
      REDIS_URL: redis.url,
      COALESCE_MS: "0",
      LOG_MAX_ENTRIES: "100",
      RING_MAX_ENTRIES: "16",
      ROLES: "gateway",
    });
    stop = () => Promise.all([node.stop(), redis.stop()]);
  });
  afterAll(() => stop?.());

  test("a connection that heard nothing for longer than the log reaches comes back whole", async () => {
    const client = join(node.url, "/trips", "websocket", { auth: { user: "1" } });
    await client.ready;
    const published = await batch(node.url, many(1000, { to: { users: ["2"] } }));

    const events = await away(client, () => refresh(node.url, "trips", "MISSED"));

    expect(scopes(events)).toEqual(["MISSED"]);
    expect(events.at(-1)!.args[0].recovered).toBe(true);
    expect(compareIds(events.at(-1)!.args[1], published.at(-1)!)).toBeGreaterThan(0);
    client.close();
  });

  test("but not one that says it has less than it was sent", async () => {
    const raw = await Raw.open(node.url);
    raw.send('40/trips,{"user":"1"}');
    const { pid } = JSON.parse((await raw.next("40/trips,")).slice("40/trips,".length));
    const offset = eventOf(await raw.next('42/trips,["ready"'))[2];
    await refresh(node.url, "trips", "HEARD");
    await raw.next('42/trips,["refresh"');
    await batch(node.url, many(1000, { to: { users: ["2"] } }));
    raw.close();

    const back = await Raw.open(node.url);
    back.send(`40/trips,${JSON.stringify({ user: "1", pid, offset })}`);

    expect(eventOf(await back.next('42/trips,["refresh"'))[1].scope).toBe("ALL");
    expect(eventOf(await back.next('42/trips,["ready"'))[1].recovered).toBe(false);
    back.close();
  });

  test("a client that lost its session, and its connection before it heard of that, is told again", async () => {
    const fresh = join(node.url, "/trips");
    const offset = (await fresh.ready).args[1];
    await refresh(node.url, "trips", "MOVES_ON");
    const lost = await Raw.open(node.url);
    lost.send(`40/trips,${JSON.stringify({ pid: "AAAAAAAAAAAAAAAAAAAA", offset })}`);
    const { pid } = JSON.parse((await lost.next("40/trips,")).slice("40/trips,".length));
    await lost.next('42/trips,["ready"');
    lost.close();

    const back = await Raw.open(node.url);
    back.send(`40/trips,${JSON.stringify({ pid, offset })}`);

    expect(eventOf(await back.next('42/trips,["refresh"'))[1].scope).toBe("ALL");
    expect(eventOf(await back.next('42/trips,["ready"'))[1].recovered).toBe(false);
    back.close();
    fresh.close();
  });

  test("a client that lost its session and subscribes again misses nothing since the gap that it was told", async () => {
    const lost = await Raw.open(node.url);
    lost.send('40/channels,{"pid":"AAAAAAAAAAAAAAAAAAAA","offset":"1-1"}');
    await lost.next('42/channels,["ready"');
    const id = await message(node.url, "chat", { text: "between the two" });

    lost.send('42/channels,1["subscribe",{"channel":"chat"}]');

    expect(eventOf(await lost.next('42/channels,["notification"'))[1]).toMatchObject({
      id,
      payload: { text: "between the two" },
    });
    lost.close();
  });

  test("and leaving the channel and coming again, it hears nothing twice", async () => {
    const lost = await Raw.open(node.url);
    lost.send('40/channels,{"pid":"AAAAAAAAAAAAAAAAAAAA","offset":"1-1"}');
    await lost.next('42/channels,["ready"');
    lost.send('42/channels,1["subscribe",{"channel":"chat"}]');
    await lost.next("43/channels,1");
    await message(node.url, "chat", { text: "heard" });
    await lost.next('42/channels,["notification"');

    lost.send('42/channels,2["unsubscribe",{"channel":"chat"}]');
    lost.send('42/channels,3["subscribe",{"channel":"chat"}]');

    expect(await lost.next("43/channels,3")).toContain('"recovered":false');
    const id = await message(node.url, "chat", { text: "after it" });
    expect(eventOf(await lost.next('42/channels,["notification"'))[2]).toBe(id);
    lost.close();
  });
});
