/** What clients ask for on Socket.IO (contract, section 2), and everything that they should not have sent. */
import { api, type Client, type NodeServer, startNode, waitFor } from "@carillon/testkit";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { batch, eventOf, ids, join, message, Raw, refresh, scopes } from "./kit.ts";

let node: NodeServer;
const opened: { close(): void }[] = [];

beforeAll(async () => {
  node = await startNode({ COALESCE_MS: "0", MAX_ROOMS_PER_CONNECTION: "3", MAX_SUBSCRIPTIONS_PER_CONNECTION: "3" });
});
afterEach(() => {
  for (const client of opened.splice(0)) client.close();
});
afterAll(() => node?.stop());

async function client(namespace: string, auth: object = {}): Promise<Client> {
  const made = join(node.url, namespace, "websocket", { auth });
  opened.push(made);
  await made.ready;
  return made;
}

async function raw(namespace: string): Promise<Raw> {
  const made = await Raw.open(node.url);
  opened.push(made);
  made.send(`40${namespace},`);
  await made.next(`42${namespace === "/" ? "" : `${namespace},`}["ready"`);
  made.frames.length = 0;
  return made;
}

const refused = (code: string) => ({ ok: false, error: { code, message: expect.any(String) } });

test("ready says who and where it is, what it hears, and its position", async () => {
  const trips = await client("/trips", { user: 42, roles: ["admin", "admin"], tenant: "acme" });
  const channels = await client("/channels", { user: "auth0|5f" });

  expect((await trips.ready).args).toEqual([
    {
      node: expect.any(String),
      user: "42",
      rooms: ["user:42", "role:admin", "tenant:acme"],
      channels: ["trips"],
      recovered: false,
    },
    expect.stringMatching(/^\d+-\d+$/),
  ]);
  expect((await channels.ready).args[0]).toMatchObject({
    user: "auth0|5f",
    rooms: ["user:auth0|5f"],
    channels: [],
    recovered: false,
  });
  expect(trips.events.filter(({ event }) => event === "ready")).toHaveLength(1);
});

describe("rooms", () => {
  test("join and leave work on entity rooms, a number is its decimal string", async () => {
    const trips = await client("/trips");

    expect(await trips.ask("join", { room: 42 })).toEqual({ ok: true, room: "42" });
    await refresh(node.url, "trips", "ONE", { to: { rooms: [42] } });
    expect((await trips.next("refresh")).args[0]).toEqual({ type: "REFRESH", scope: "ONE" });
    expect(await trips.ask("leave", { room: "42" })).toEqual({ ok: true, room: "42" });
    expect(await trips.ask("leave", { room: "42" })).toEqual({ ok: true, room: "42" });
    await refresh(node.url, "trips", "TWO", { to: { rooms: ["42"] } });
    await refresh(node.url, "trips", "THREE");
    await trips.next("refresh", ({ scope }) => scope === "THREE");

    expect(scopes(trips.events)).toEqual(["ONE", "THREE"]);
  });

  test.each([
    ["user:1", "FORBIDDEN"],
    ["role:admin", "FORBIDDEN"],
    ["tenant:t", "FORBIDDEN"],
    ["user:", "FORBIDDEN"],
    ["*", "INVALID_ROOM"],
    ["#orders", "INVALID_ROOM"],
    ["", "INVALID_ROOM"],
    [".a", "INVALID_ROOM"],
    ["a b", "INVALID_ROOM"],
    ["x".repeat(129), "INVALID_ROOM"],
    [null, "INVALID_ROOM"],
    [1.5, "INVALID_ROOM"],
    [2 ** 60, "INVALID_ROOM"],
    [["a"], "INVALID_ROOM"],
    [{}, "INVALID_ROOM"],
  ])("%j is refused with %s", async (room, code) => {
    const trips = await client("/trips");

    expect(await trips.ask("join", { room })).toMatchObject(refused(code));
  });

  test("nobody joins the room of another socket, and names of 20 letters are nobody's socket", async () => {
    const victim = await client("/trips");
    const trips = await client("/trips");

    expect(await trips.ask("join", { room: victim.socket.id })).toMatchObject({ ok: false });
    expect(await trips.ask("join", { room: "K3f9aZk3LmNoPqRsAbcd" })).toMatchObject({ ok: true });
  });

  test("their number is bounded", async () => {
    const trips = await client("/trips");
    for (const room of ["a", "b", "c", "c"]) expect(await trips.ask("join", { room })).toMatchObject({ ok: true });

    expect(await trips.ask("join", { room: "d" })).toMatchObject(refused("TOO_MANY_ROOMS"));
  });

  test("users, roles, tenants and except choose who hears", async () => {
    const one = await client("/trips", { user: "1", roles: ["driver"], tenant: "t" });
    const two = await client("/trips", { user: "2", roles: ["driver"] });
    const publish = (scope: string, to: object) => refresh(node.url, "trips", scope, { to });

    await publish("A", { users: ["1"] });
    await publish("B", { roles: ["driver"], except: { users: ["1"] } });
    await publish("C", { tenants: ["t"], users: ["2"] });
    await publish("D", { except: { sockets: [one.socket.id] } });
    await publish("E", { rooms: ["user:2"] });
    await publish("F", { users: [] });
    await refresh(node.url, "trips", "END");
    await Promise.all([one, two].map((each) => each.next("refresh", ({ scope }) => scope === "END")));

    expect(scopes(one.events)).toEqual(["A", "C", "END"]);
    expect(scopes(two.events)).toEqual(["B", "C", "D", "E", "END"]);
  });
});

describe.each(["/channels", "/"])("channels on %s", (namespace) => {
  test("subscribe, publish, hear one's own, unsubscribe", async () => {
    const one = await client(namespace, { user: "1" });
    const ack = await one.ask("subscribe", { channel: "chat" });
    expect(ack).toEqual({ ok: true, channel: "chat", id: expect.any(String), recovered: false });

    const published = await one.ask("publish", {
      channel: "chat",
      payload: { text: "hi" },
      scope: "NEVER",
      to: { users: ["2"] },
      from: "2",
    });

    expect(published).toEqual({ ok: true, id: expect.any(String) });
    const { args } = await one.next("notification");
    expect(args).toEqual([
      {
        channel: "chat",
        payload: { text: "hi" },
        timestamp: expect.stringMatching(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/),
        from: "1",
      },
      published.id,
    ]);
    expect(await one.ask("unsubscribe", { channel: "chat" })).toEqual({ ok: true, channel: "chat" });
    expect(await one.ask("unsubscribe", { channel: "chat" })).toEqual({ ok: true, channel: "chat" });
    await message(node.url, "chat", "not heard");
    await one.ask("subscribe", { channel: "orders" });
    await message(node.url, "orders", "heard");
    await one.next("notification");
    expect(one.events.filter(({ event }) => event === "notification")).toHaveLength(2);
  });

  test("a refresh channel by any of its spellings says its channel", async () => {
    const one = await client(namespace);
    expect(await one.ask("subscribe", { channel: "trips.refresh" })).toMatchObject({ ok: true, channel: "trips" });

    const id = await refresh(node.url, "trips", "X", { payload: { a: 1 } });

    expect((await one.next("refresh")).args).toEqual([
      { type: "REFRESH", scope: "X", channel: "trips", payload: { a: 1 } },
      id,
    ]);
  });

  test("subscribing again is harmless, and its since is ignored", async () => {
    const one = await client(namespace);
    const [first] = await batch(node.url, [{ channel: "chat", payload: 1 }]);
    await one.ask("subscribe", { channel: "chat" });

    expect(await one.ask("subscribe", { channel: "chat", since: first })).toMatchObject({ ok: true, channel: "chat" });
    await message(node.url, "chat", 2);
    await one.next("notification");
    expect(one.events.filter(({ event }) => event === "notification").map(({ args }) => args[0].payload)).toEqual([2]);
  });

  test("names and numbers are judged", async () => {
    const one = await client(namespace);

    for (const channel of ["", ".a", "a b", "x".repeat(64), null, {}, "*", "#"]) {
      expect(await one.ask("subscribe", { channel })).toMatchObject(refused("INVALID_CHANNEL"));
      expect(await one.ask("publish", { channel, payload: 1 })).toMatchObject(refused("INVALID_CHANNEL"));
      expect(await one.ask("join", { channel, room: "a" })).toMatchObject(refused("INVALID_CHANNEL"));
    }
    expect(await one.ask("publish", { channel: "chat" })).toMatchObject(refused("INVALID_REQUEST"));
    expect(await one.ask("publish", { channel: "chat", payload: "x".repeat(100_000) })).toMatchObject(
      refused("PAYLOAD_TOO_LARGE"),
    );
    for (const channel of ["a", "b", "c"]) expect(await one.ask("subscribe", { channel })).toMatchObject({ ok: true });
    expect(await one.ask("subscribe", { channel: "d" })).toMatchObject(refused("TOO_MANY_SUBSCRIPTIONS"));
  });

  test("requests of one breath run in their order, before the connection is whole too", async () => {
    const made = join(node.url, namespace, "websocket", { auth: { user: "1" } });
    opened.push(made);
    const answers: unknown[] = [];
    const keep = (answer: unknown) => void answers.push(answer);
    made.socket.once("connect", () => {
      made.socket.emit("subscribe", { channel: "breath" }, keep);
      for (let n = 0; n < 50; n++) made.socket.emit("publish", { channel: "breath", payload: n }, keep);
    });

    await waitFor(() => answers.length === 51, { what: "all answers" });

    expect(answers).toEqual([
      expect.objectContaining({ ok: true }),
      ...Array.from({ length: 50 }, () => ({ ok: true, id: expect.any(String) })),
    ]);
    await waitFor(() => ids(made.events).length === 50, { what: "all publications" });
    expect(made.events.filter(({ event }) => event === "notification").map(({ args }) => args[0].payload)).toEqual(
      Array.from({ length: 50 }, (_, n) => n),
    );
  });

  test("a since is recovered, its publications have their ids and do not move the connection back", async () => {
    const published = await batch(
      node.url,
      [0, 1, 2].map((n) => ({ channel: "since", payload: n })),
    );
    const one = await client(namespace);
    const position = (await one.ready).args[1];

    expect(await one.ask("subscribe", { channel: "since", since: published[0] })).toEqual({
      ok: true,
      channel: "since",
      id: published[0],
      recovered: true,
    });

    await one.next("notification", ({ payload }) => payload === 2);
    const events = one.events.filter(({ event }) => event === "notification");
    expect(events.map(({ args }) => [args[0].payload, args[0].id, args[1]])).toEqual([
      [1, published[1], position],
      [2, published[2], position],
    ]);
  });
});

test.each(["subscribe", "unsubscribe", "publish"])("a refresh namespace knows no %s", async (event) => {
  const trips = await client("/trips");

  expect(await trips.ask(event, { channel: "trips", payload: 1 })).toMatchObject(refused("UNKNOWN_EVENT"));
});

test.each(["/trips", "/channels"])("state, seen and auth:refresh are answered on %s", async (namespace) => {
  const one = await client(namespace);

  expect(await one.ask("state", { foreground: true })).toEqual({ ok: true });
  expect(await one.ask("seen", { ids: ["a", "b"] })).toEqual({ ok: true });
  expect(await one.ask("auth:refresh", { token: "t" })).toEqual({ ok: true });
  for (const body of [{}, { foreground: "yes" }, { foreground: null }])
    expect(await one.ask("state", body)).toMatchObject(refused("INVALID_REQUEST"));
  for (const body of [
    {},
    { ids: "a" },
    { ids: [1] },
    { ids: [""] },
    { ids: Array.from({ length: 1001 }, () => "a") },
  ]) {
    expect(await one.ask("seen", body)).toMatchObject(refused("INVALID_REQUEST"));
  }
  expect(await one.ask("auth:refresh", {})).toMatchObject(refused("INVALID_REQUEST"));
});

describe("nonsense", () => {
  const events = [
    "join",
    "leave",
    "subscribe",
    "unsubscribe",
    "publish",
    "state",
    "seen",
    "auth:refresh",
    "ready",
    "refresh",
    "__proto__",
    "constructor",
    "hasOwnProperty",
    "error",
    "no such",
  ];
  const argumentLists = [
    [],
    [null],
    [0],
    [""],
    [[]],
    [{}],
    [[[]]],
    [true],
    ["x".repeat(100_000)],
    [{ room: {}, channel: {} }],
    Array.from({ length: 50 }, () => ({})),
    [{ ["__proto__"]: { room: "a" } }],
  ];

  test.each(["/trips", "/channels"])(
    "is answered with an error where an ack was asked for, and with nothing else, on %s",
    async (namespace) => {
      const one = await raw(namespace);
      let ack = 0;
      for (const event of events) {
        for (const args of argumentLists) {
          one.send(`42${namespace},${ack}${JSON.stringify([event, ...args])}`);
          const answer = eventOf(await one.next(`43${namespace},${ack}[`))[0];
          expect({ event, args: JSON.stringify(args).slice(0, 60), answer }).toMatchObject({
            answer: { ok: false, error: { code: expect.any(String) } },
          });
          one.send(`42${namespace},${JSON.stringify([event, ...args])}`);
          ack++;
        }
      }
      one.send(`42${namespace},9000[5,{"room":"a"}]`);
      expect(eventOf(await one.next(`43${namespace},9000[`))[0]).toMatchObject(refused("UNKNOWN_EVENT"));
      expect(one.frames).toEqual([]);
      expect(one.closed).toBe(false);
    },
  );

  test("a payload with an attachment, or nested too deep, is refused and the connection lives on", async () => {
    const one = await raw("/channels");
    one.send('451-/channels,1["publish",{"channel":"chat","payload":{"a":{"_placeholder":true,"num":0}}}]');
    one.send(Buffer.from("binary"));
    expect(eventOf(await one.next("43/channels,1["))[0]).toMatchObject(refused("INVALID_REQUEST"));
    one.send(`42/channels,2["publish",{"channel":"chat","payload":${"[".repeat(20_000)}${"]".repeat(20_000)}}]`);
    expect(eventOf(await one.next("43/channels,2["))[0]).toMatchObject(refused("INVALID_REQUEST"));
    one.send('451-/channels,3["join",{"_placeholder":true,"num":0}]');
    one.send(Buffer.from("binary"));
    expect(eventOf(await one.next("43/channels,3["))[0]).toMatchObject(refused("INVALID_REQUEST"));
    expect(one.closed).toBe(false);
  });

  test("a malformed frame ends its own transport and nobody else's", async () => {
    const healthy = await client("/trips");
    const frames = [
      "44/trips,{}",
      "42/trips,[",
      "42/trips,{}",
      "42/trips,[]",
      '451-/trips,["a",{"_placeholder":true,"num":9}]',
      '459999-/trips,["a"]',
      "49",
      "40/nowhere,{",
      "garbage",
      '{"type":"subscribe"}',
      "4",
      '42/channels,["a"]',
    ];
    for (const frame of frames) {
      const one = await raw("/trips");
      one.send(frame);
      one.send(Buffer.from([1, 2, 3]));
      await waitFor(() => one.closed, { what: `the end after ${frame}` });
    }

    await refresh(node.url, "trips", "STILL_HERE");
    await healthy.next("refresh", ({ scope }) => scope === "STILL_HERE");
    expect(healthy.events.filter(({ event }) => event === "ready")).toHaveLength(1);
  });

  test("asking for a namespace many times at once gives one connection at most", async () => {
    const before = await node.metric("carillon_handshakes_total", { outcome: "connected" });
    const one = await Raw.open(node.url);
    opened.push(one);
    for (let n = 0; n < 500; n++) one.send("40/trips,");

    await one.next("40/trips,");
    await waitFor(() => one.closed || one.frames.some((frame) => frame.includes("ready")), {
      what: "ready, or the end",
    });

    expect(one.frames.filter((frame) => frame.startsWith("40"))).toEqual([]);
    expect(await node.metric("carillon_handshakes_total", { outcome: "connected" })).toBe(before + 1);
  });

  test("more requests than may wait are refused, and the rest is answered", async () => {
    const one = await raw("/channels");
    const payload = JSON.stringify("x".repeat(1000));
    for (let n = 0; n < 1000; n++) one.send(`42/channels,${n}["publish",{"channel":"flood","payload":${payload}}]`);

    await waitFor(() => one.frames.length === 1000, { what: "an answer to each" });

    const answers = one.frames.map((frame) => eventOf(frame)[0]);
    const good = answers.filter(({ ok }) => ok).length;
    expect(good).toBeGreaterThan(50);
    for (const { ok, error } of answers)
      if (!ok) expect(error).toMatchObject({ code: "RATE_LIMITED", retryAfterS: expect.any(Number) });
    expect(await api(node.url).get("/healthz")).toMatchObject({ status: 200 });
  });
});

test("spreadMs says over how long to refetch, for everything that asks for it", async () => {
  const spreads = await startNode({ COALESCE_MS: "0", REFETCH_BUDGET_PER_S: "100" });
  const all = await Promise.all(
    Array.from({ length: 5 }, async (_, n) => {
      const made = join(spreads.url, "/trips", "websocket", { auth: { user: `${n}` } });
      opened.push(made);
      await made.ready;
      return made;
    }),
  );

  await refresh(spreads.url, "trips", "ALL_OF_THEM");
  await refresh(spreads.url, "trips", "ONE", { to: { users: ["3"] } });

  expect((await all[0]!.next("refresh")).args[0]).toEqual({ type: "REFRESH", scope: "ALL_OF_THEM", spreadMs: 50 });
  expect((await all[3]!.next("refresh", ({ scope }) => scope === "ONE")).args[0]).toEqual({
    type: "REFRESH",
    scope: "ONE",
    spreadMs: 10,
  });
  const late = await Raw.open(spreads.url);
  opened.push(late);
  late.send('40/trips,{"offset":"1-1"}');
  expect(eventOf(await late.next('42/trips,["refresh"'))[1]).toEqual({ type: "REFRESH", scope: "ALL", spreadMs: 60 });
  await spreads.stop();
});
