/** Stock clients come back by themselves (guarantees 2, 3 and 4): on any node, with their rooms, with what they missed, or told. */
import { type NodeServer, type RedisServer, startNode, startProxy, startRedis } from "@carillon/testkit";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import {
  away,
  batch,
  CHANNEL_NAMESPACES,
  compareIds,
  eventOf,
  heardUntilReady,
  ids,
  join,
  message,
  moveTo,
  Raw,
  REFRESH_NAMESPACES,
  refresh,
  scopes,
  TRANSPORTS,
} from "./kit.ts";

let redis: RedisServer;
let env: Record<string, string>;
let a: NodeServer;
let b: NodeServer;
const clients: { close(): void }[] = [];

beforeAll(async () => {
  redis = await startRedis();
  env = { REDIS_URL: redis.url, COALESCE_MS: "0", ROLES: "gateway" };
  [a, b] = await Promise.all([startNode(env), startNode(env)]);
});
afterEach(() => {
  for (const client of clients.splice(0)) client.close();
});
afterAll(async () => {
  await Promise.all([a?.stop(), b?.stop()]);
  await redis?.stop();
});

function kept<T extends { close(): void }>(client: T): T {
  clients.push(client);
  return client;
}

describe.each(TRANSPORTS)("over %s", (transport) => {
  describe.each(REFRESH_NAMESPACES)("in %s", (namespace) => {
    test.each(["same", "other"])(
      "a client that lost its connection hears on the %s node what it missed, once, before ready",
      async (where) => {
        const client = kept(join(a.url, namespace, transport));
        await client.ready;
        const heard = await refresh(a.url, namespace, "BEFORE");
        await client.next("refresh", ({ scope }) => scope === "BEFORE");
        const missed: string[] = [];

        const events = await away(
          client,
          async () => {
            for (let i = 0; i < 5; i++) missed.push(await refresh(b.url, namespace, `MISSED_${i}`));
          },
          where === "same" ? a.url : b.url,
        );

        expect(ids(events)).toEqual(missed);
        expect(compareIds(heard, missed[0]!)).toBeLessThan(0);
        expect(events.at(-1)!.args).toMatchObject([{ recovered: true }, missed.at(-1)]);
        await refresh(a.url, namespace, "LIVE");
        await client.next("refresh", ({ scope }) => scope === "LIVE");
      },
    );

    test("a client that had heard nothing but ready comes back whole", async () => {
      const client = kept(join(a.url, namespace, transport));
      await client.ready;

      const events = await away(client, () => refresh(a.url, namespace, "FIRST"), b.url);

      expect(scopes(events)).toEqual(["FIRST"]);
      expect(events.at(-1)!.args[0].recovered).toBe(true);
    });

    test("entity rooms come back on another node", async () => {
      const client = kept(join(a.url, namespace, transport));
      await client.ready;
      expect(await client.ask("join", { room: "trip:42" })).toEqual({ ok: true, room: "trip:42" });

      const events = await away(
        client,
        () => refresh(a.url, namespace, "IN_ROOM", { to: { rooms: ["trip:42"] } }),
        b.url,
      );

      expect(scopes(events)).toEqual(["IN_ROOM"]);
      expect(events.at(-1)!.args[0].rooms).toContain("trip:42");
      await refresh(a.url, namespace, "LIVE_IN_ROOM", { to: { rooms: ["trip:42"] } });
      await client.next("refresh", ({ scope }) => scope === "LIVE_IN_ROOM");
    });
  });

  describe.each(CHANNEL_NAMESPACES)("in %s", (namespace) => {
    test("subscriptions and their rooms come back on another node, with what was missed in order", async () => {
      const client = kept(join(a.url, namespace, transport));
      await client.ready;
      expect(await client.ask("subscribe", { channel: "orders" })).toMatchObject({
        ok: true,
        channel: "orders",
        recovered: false,
      });
      expect(await client.ask("subscribe", { channel: "refresh.trips" })).toMatchObject({ ok: true, channel: "trips" });
      expect(await client.ask("join", { channel: "orders", room: "shop:1" })).toEqual({
        ok: true,
        channel: "orders",
        room: "shop:1",
      });
      const missed: string[] = [];

      const events = await away(
        client,
        async () => {
          missed.push(await message(a.url, "orders", { n: 1 }));
          missed.push(await refresh(a.url, "trips", "CHANGED"));
          await message(a.url, "chat", "not subscribed to");
          const [inRoom] = await batch(a.url, [{ channel: "orders", payload: 2, to: { rooms: ["shop:1"] } }]);
          missed.push(inRoom!);
          await batch(a.url, [{ channel: "orders", payload: 3, to: { rooms: ["shop:2"] } }]);
        },
        b.url,
      );

      expect(ids(events)).toEqual(missed);
      expect(events[1]!.args[0]).toEqual({ type: "REFRESH", scope: "CHANGED", channel: "trips" });
      expect(events.at(-1)!.args[0]).toMatchObject({
        channels: ["orders", "trips"],
        rooms: ["orders/shop:1"],
        recovered: true,
      });
      expect(await client.ask("subscribe", { channel: "orders", since: "1-1" })).toMatchObject({
        ok: true,
        recovered: true,
      });
    });
  });

  test("a client whose node is killed comes back elsewhere by itself, again and again", async () => {
    const client = kept(join(a.url, "/trips", transport));
    await client.ready;
    await client.ask("join", { room: "trip:7" });
    for (let round = 0; round < 3; round++) {
      const node = await startNode(env);
      await away(client, async () => {}, node.url);
      await refresh(b.url, "/trips", `LIVE_${round}`, { to: { rooms: ["trip:7"] } });
      await client.next("refresh", ({ scope }) => scope === `LIVE_${round}`);
      const before = client.events.length;
      moveTo(client, round % 2 === 0 ? b.url : a.url);

      await node.kill();
      const id = await refresh(a.url, "/trips", `MISSED_${round}`, { to: { rooms: ["trip:7"] } });

      const events = await heardUntilReady(client, before);
      const later = client.events.slice(before);
      expect(events.at(-1)!.args[0]).toMatchObject({ recovered: true });
      expect(ids(later)).toEqual([id]);
    }
  });
});

test("missed refreshes without payload are merged per scope, messages and those with a payload are not", async () => {
  const client = kept(join(a.url, "/trips"));
  await client.ready;

  const events = await away(client, async () => {
    await refresh(a.url, "/trips", "X");
    await refresh(a.url, "/trips", "Y");
    await refresh(a.url, "/trips", "P", { payload: 1 });
    await refresh(a.url, "/trips", "X");
    await refresh(a.url, "/trips", "P", { payload: 2 });
    await message(a.url, "trips", "m");
    await refresh(a.url, "/trips", "Y");
    await refresh(a.url, "/trips", "X");
  });

  expect(
    events
      .slice(0, -1)
      .map(({ event, args }) => (event === "refresh" ? `${args[0].scope}${args[0].payload ?? ""}` : args[0].payload)),
  ).toEqual(["P1", "P2", "m", "Y", "X"]);
  expect(ids(events)).toEqual([...ids(events)].sort(compareIds));
});

test("what a client may not hear is not caught up either", async () => {
  const client = kept(join(a.url, "/trips", "websocket", { auth: { user: "1", roles: ["driver"], tenant: "t1" } }));
  await client.ready;

  const events = await away(
    client,
    async () => {
      await refresh(a.url, "/trips", "FOR_2", { to: { users: ["2"] } });
      await refresh(a.url, "/trips", "FOR_1", { to: { users: [1] } });
      await refresh(a.url, "/trips", "FOR_DRIVERS", { to: { roles: ["driver"] } });
      await refresh(a.url, "/trips", "FOR_T2", { to: { tenants: ["t2"] } });
      await refresh(a.url, "/trips", "NOT_1", { to: { except: { users: ["1"] } } });
      await refresh(a.url, "/users", "ELSEWHERE");
    },
    b.url,
  );

  expect(scopes(events)).toEqual(["FOR_1", "FOR_DRIVERS"]);
});

describe("the frames that the Dart client sends", () => {
  test("pid and offset in the CONNECT packet resume", async () => {
    const first = kept(await Raw.open(a.url));
    first.send("40/trips,");
    const { pid } = JSON.parse((await first.next("40/trips,")).slice("40/trips,".length));
    const [, , position] = eventOf(await first.next('42/trips,["ready"'));
    first.send('42/trips,1["join",{"room":"trip:1"}]');
    expect(await first.next("43/trips,1")).toBe('43/trips,1[{"ok":true,"room":"trip:1"}]');
    first.close();
    const id = await refresh(a.url, "/trips", "MISSED", { to: { rooms: ["trip:1"] } });

    const second = kept(await Raw.open(b.url));
    second.send(`40/trips,${JSON.stringify({ pid, offset: position })}`);

    expect(await second.next('42/trips,["refresh"')).toBe(
      `42/trips,["refresh",{"type":"REFRESH","scope":"MISSED"},"${id}"]`,
    );
    expect(eventOf(await second.next('42/trips,["ready"'))[1]).toMatchObject({ recovered: true, rooms: ["trip:1"] });
  });

  test('auth.ids "event" gives events with one argument, each followed by its offset', async () => {
    const raw = kept(await Raw.open(a.url));
    raw.send('40/trips,{"ids":"event"}');
    await raw.next("40/trips,");
    await raw.next('42/trips,["ready",{');
    expect(await raw.next("42/trips,")).toMatch(/^42\/trips,\["offset","\d+-\d+"\]$/);

    const id = await refresh(a.url, "/trips", "ONE");

    expect(await raw.next("42/trips,")).toBe('42/trips,["refresh",{"type":"REFRESH","scope":"ONE"}]');
    expect(await raw.next("42/trips,")).toBe(`42/trips,["offset","${id}"]`);
    raw.close();
    const second = await refresh(a.url, "/trips", "TWO");
    const back = kept(await Raw.open(b.url));
    back.send(`40/trips,${JSON.stringify({ ids: "event", offset: id })}`);
    await back.next("40/trips,");
    expect(await back.next("42/trips,")).toBe('42/trips,["refresh",{"type":"REFRESH","scope":"TWO"}]');
    expect(await back.next("42/trips,")).toBe(`42/trips,["offset","${second}"]`);
    expect(eventOf(await back.next('42/trips,["ready"'))[1].recovered).toBe(true);
  });
});

test("who comes back with an offset alone is told when a room that it joins again had something meanwhile, and only then", async () => {
  const raw = kept(await Raw.open(a.url));
  raw.send("40/trips,");
  const offset = eventOf(await raw.next('42/trips,["ready"'))[2];
  raw.send('42/trips,1["join",{"room":"trip:42"}]');
  await raw.next("43/trips,1");
  raw.close();
  await refresh(a.url, "/trips", "FOR_THE_ROOM", { to: { rooms: ["trip:42"] } });
  const last = await refresh(a.url, "/trips", "FOR_ALL");

  const back = kept(await Raw.open(b.url));
  back.send(`40/trips,${JSON.stringify({ offset })}`);
  expect(eventOf(await back.next("42/trips,"))[1].scope).toBe("FOR_ALL");
  await back.next('42/trips,["ready"');
  back.send('42/trips,1["join",{"room":"trip:7"}]');
  expect(await back.next("43/trips,1")).toContain('"ok":true');
  back.send('42/trips,2["join",{"room":"trip:42"}]');

  expect(eventOf(await back.next("42/trips,"))).toEqual(["refresh", { type: "REFRESH", scope: "ALL" }, last]);
  expect(await back.next("43/trips,2")).toContain('"ok":true');
});

test("who lost its session and was cut off before it joined again is told what its rooms had until then", async () => {
  const gone = kept(await Raw.open(a.url));
  gone.send(`40/trips,${JSON.stringify({ pid: "unheard-of", offset: "1-1" })}`);
  const { pid } = JSON.parse((await gone.next("40/trips,")).slice("40/trips,".length));
  const offset = eventOf(await gone.next('42/trips,["ready"'))[2];
  gone.close();
  await refresh(a.url, "trips", "TO_ROOM", { to: { rooms: ["trip:1"] } });

  const back = kept(await Raw.open(b.url));
  back.send(`40/trips,${JSON.stringify({ pid, offset })}`);
  await back.next('42/trips,["ready"');
  for (const room of ["trip:1", "trip:2"]) {
    back.send(`42/trips,1["join",{"room":"${room}"}]`);
    await back.next("43/trips,1");
  }

  const told = back.frames.filter((frame) => frame.startsWith("42/trips,")).map((frame) => eventOf(frame)[1]);
  expect(told).toEqual([{ type: "REFRESH", scope: "ALL" }]);
});

test("who comes back with an offset alone and subscribes again hears what the channel had meanwhile", async () => {
  const raw = kept(await Raw.open(a.url));
  raw.send("40/channels,");
  const offset = eventOf(await raw.next('42/channels,["ready"'))[2];
  raw.close();
  const missed = await message(a.url, "orders", "missed");

  const back = kept(await Raw.open(b.url));
  back.send(`40/channels,${JSON.stringify({ offset })}`);
  await back.next('42/channels,["ready"');
  back.send('42/channels,1["subscribe",{"channel":"orders"}]');

  expect(await back.next("43/channels,1")).toContain('"recovered":true');
  expect(eventOf(await back.next("42/channels,"))[1]).toMatchObject({ payload: "missed", id: missed });
});

test("a client that is cut off the moment it knows its new session id has its rooms again after that, many times", async () => {
  const first = await Raw.open(a.url);
  first.send("40/channels,");
  let { pid } = JSON.parse((await first.next("40/channels,")).slice("40/channels,".length));
  const offset = eventOf(await first.next('42/channels,["ready"'))[2];
  first.send('42/channels,1["subscribe",{"channel":"orders"}]');
  await first.next("43/channels,1");
  first.close();
  const id = await message(a.url, "orders", "missed");
  // Slower than a network may cut a connection.
  const proxy = await startProxy(redis.port);
  const slow = await startNode({ ...env, REDIS_URL: `redis://127.0.0.1:${proxy.port}` });
  for (let round = 0; round < 20; round++) {
    const raw = new Raw(slow.url);
    raw.socket.on("open", () => raw.send(`40/channels,${JSON.stringify({ pid, offset })}`));
    await new Promise<void>((resolve) => {
      raw.socket.on("message", (data) => {
        const text = String(data);
        if (!text.startsWith("40/channels,")) return;
        pid = JSON.parse(text.slice("40/channels,".length)).pid;
        proxy.blackhole(); // what it would still tell Redis comes too late
        raw.close();
        resolve();
      });
    });
    await proxy.restore();
  }

  const back = kept(await Raw.open(b.url));
  back.send(`40/channels,${JSON.stringify({ pid, offset })}`);

  expect(eventOf(await back.next('42/channels,["notification"'))[2]).toBe(id);
  expect(eventOf(await back.next('42/channels,["ready"'))[1]).toMatchObject({ recovered: true, channels: ["orders"] });
  await slow.kill();
  await proxy.close();
});

describe("what can't be resumed is told, never claimed", () => {
  async function session(auth: object = {}): Promise<{ pid: string; offset: string }> {
    const raw = await Raw.open(a.url);
    raw.send(`40/trips,${JSON.stringify(auth)}`);
    const { pid } = JSON.parse((await raw.next("40/trips,")).slice("40/trips,".length));
    const offset = eventOf(await raw.next('42/trips,["ready"'))[2];
    raw.send('42/trips,1["join",{"room":"trip:9"}]');
    await raw.next("43/trips,1");
    raw.close();
    return { pid, offset };
  }

  async function comeBack(
    auth: object,
    namespace = "/trips",
  ): Promise<{ told: unknown[]; ready: { recovered: boolean; rooms: string[] }; id: string }> {
    const raw = kept(await Raw.open(b.url));
    raw.send(`40${namespace},${JSON.stringify(auth)}`);
    await raw.next(`40${namespace},`);
    const ready = eventOf(await raw.next(`42${namespace},["ready"`));
    return { told: raw.frames.filter((frame) => frame.startsWith("42")).map(eventOf), ready: ready[1], id: ready[2] };
  }

  test.each([
    ["nonsense", "nonsense"],
    ["a number", 5],
    ["an object", { n: 1 }],
    ["empty", ""],
    ["negative", "1-(-1)"],
    ["another epoch", "1-1"],
    ["an epoch that was never", "999999999999999-1"],
    ["far ahead", "{epoch}-999999999"],
    ["very long", "1-".padEnd(1000, "1")],
  ])("an offset that is %s", async (_name, offset) => {
    const { offset: real } = await session();
    const sent = typeof offset === "string" ? offset.replace("{epoch}", real.split("-")[0]!) : offset;

    const { told, ready, id } = await comeBack({ offset: sent });

    expect(told).toEqual([["refresh", { type: "REFRESH", scope: "ALL" }, id]]);
    expect(ready.recovered).toBe(false);
  });

  test("a pid without an offset", async () => {
    const { pid } = await session();

    const { told, ready, id } = await comeBack({ pid });

    expect(told).toEqual([["refresh", { type: "REFRESH", scope: "ALL" }, id]]);
    expect(ready.recovered).toBe(false);
  });

  test.each([
    ["unknown", "AAAAAAAAAAAAAAAAAAAA"],
    ["a number", 7],
    ["very long", "x".repeat(5000)],
    ["empty", ""],
  ])("a pid that is %s", async (_name, pid) => {
    const { offset } = await session();

    const { told, ready } = await comeBack({ pid, offset });

    expect(told).toHaveLength(1);
    expect(ready).toMatchObject({ recovered: false, rooms: [] });
  });

  test("the pid of another user gives none of that user's rooms", async () => {
    const { pid, offset } = await session({ user: "1" });

    const { told, ready } = await comeBack({ user: "2", pid, offset });

    expect(told).toHaveLength(1);
    expect(ready).toMatchObject({ recovered: false, rooms: ["user:2"] });
  });

  test("the pid of another namespace", async () => {
    const { pid, offset } = await session();

    const { ready } = await comeBack({ pid, offset }, "/users");

    expect(ready).toMatchObject({ recovered: false, rooms: [] });
  });

  test("on /channels it is a gap for all channels", async () => {
    const { told, ready, id } = await comeBack({ offset: "nonsense" }, "/channels");

    expect(told).toEqual([["gap", {}, id]]);
    expect(ready.recovered).toBe(false);
  });
});

test("a replay by since is in order with its ids inside, and one that was cut is a gap for its channel", async () => {
  const payloads = Array.from({ length: 20 }, (_, n) => ({ channel: "orders", payload: n }));
  const published = await batch(a.url, payloads);
  const raw = kept(await Raw.open(a.url));
  raw.send("40/channels,");
  const { pid } = JSON.parse((await raw.next("40/channels,")).slice("40/channels,".length));
  const position = eventOf(await raw.next('42/channels,["ready"'))[2];
  raw.send(`42/channels,1["subscribe",{"channel":"orders","since":"${published[4]}"}]`);
  expect(await raw.next("43/channels,1")).toBe(
    `43/channels,1[{"ok":true,"channel":"orders","id":"${published[4]}","recovered":true}]`,
  );
  for (let n = 5; n < 20; n++) {
    const [, event, trailing] = eventOf(await raw.next("42/channels,"));
    expect(event).toMatchObject({ channel: "orders", payload: n, id: published[n] });
    expect(trailing).toBe(position);
  }
  raw.close();
  const missed = await message(a.url, "orders", "missed");

  // It heard nothing later than the replay, so nobody can know whether it had all of it. After what it missed it would come back
  // as one that had.
  const back = kept(await Raw.open(b.url));
  back.send(`40/channels,${JSON.stringify({ pid, offset: position })}`);

  expect(eventOf(await back.next("42/channels,"))).toEqual(["gap", { channels: ["orders"] }, position]);
  expect(eventOf(await back.next("42/channels,"))).toEqual([
    "notification",
    expect.objectContaining({ payload: "missed" }),
    missed,
  ]);
  expect(eventOf(await back.next('42/channels,["ready"'))[1]).toMatchObject({ channels: ["orders"], recovered: false });
});

test("a since that is nonsense or too old is acked, then told as a gap for that channel", async () => {
  const client = kept(join(a.url, "/channels"));
  await client.ready;

  const ack = await client.ask("subscribe", { channel: "orders", since: "nonsense" });

  expect(ack).toMatchObject({ ok: true, channel: "orders", recovered: false });
  expect((await client.next("gap")).args).toMatchObject([{ channels: ["orders"] }, ack.id]);
});
