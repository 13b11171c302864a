/** The SDK against real nodes that die. */
import { api, type Cluster, startCluster, startNode, startProxy, startRedis, waitFor } from "@carillon/testkit";
import { afterAll, afterEach, beforeAll, expect, test } from "vitest";
import { type Client, type ClientOptions, createClient, type Gap, type Status } from "../src/index.ts";
import { heard, message, QUICK, refresh } from "./kit.ts";

interface Payloads {
  chat: { text: string };
  orders: { n: number };
}

let cluster: Cluster;
const open: Client<Payloads>[] = [];

beforeAll(async () => {
  cluster = await startCluster({ nodes: 2, env: { COALESCE_MS: "0", ROLES: "gateway" } });
});
afterEach(() => {
  for (const client of open.splice(0)) client.close();
});
afterAll(() => cluster?.stop());

function create(options: ClientOptions = {}): Client<Payloads> {
  const client = createClient<Payloads>({ url: cluster.url, auth: { user: "42" }, socket: QUICK, ...options });
  open.push(client);
  return client;
}

/** The node that a client is on, and one that it isn't on. */
function nodesOf(client: Client<Payloads>) {
  const { status } = client;
  if (status.state !== "connected") throw new Error(`the client is ${status.state}`);
  const index = cluster.nodes.findIndex(({ logs }) => logs.some(({ node }) => node === status.node));
  return { mine: cluster.nodes[index]!, other: cluster.nodes[1 - index]! };
}

test("one connection carries every namespace, each connected on first use and left after the last", async () => {
  const client = create();
  const connections = async () => {
    const counts = await Promise.all(
      cluster.nodes.map(async (node) => [
        await node.metric("carillon_transports"),
        await node.metric("carillon_connections"),
      ]),
    );
    return counts.reduce((sum, [transports = 0, all = 0]) => [sum[0]! + transports, sum[1]! + all], [0, 0]);
  };

  const before = client.status;
  const trips = client.onRefresh("trips", () => {});
  const users = client.onRefresh("users", () => {});
  const chat = client.subscribe("chat", () => {});
  await Promise.all([trips.ready, users.ready, chat.ready]);
  await waitFor(async () => String(await connections()) === "1,3", { what: "three namespaces on one connection" });
  users();
  await waitFor(async () => (await connections())[1] === 2, { what: "the namespace to be left" });
  trips();
  chat();
  await waitFor(async () => (await connections())[0] === 0, { what: "the connection to be closed" });

  expect(before).toEqual({ state: "idle" });
  expect(client.status).toEqual({ state: "idle" });
});

test("handlers hear the scopes of their pattern, and all of them hear ALL; one that throws stops none of the others", async () => {
  const all = heard();
  const client = create({ onError: (error) => all.errors.push(error) });
  const approved: string[] = [];
  const failure = new Error("a handler's own");
  client.onRefresh("trips", () => {
    throw failure;
  });
  client.onRefresh("trips", async () => {
    throw failure;
  });
  client.onRefresh("trips", "TRIP_APPROVED|DRIVER_*", ({ scope }) => approved.push(scope));
  const last = client.onRefresh("trips", (told) => all.refreshes.push(told));
  await last.ready;

  const id = await refresh(cluster.url, "trips", "TRIP_APPROVED", { payload: { tripId: 42 } });
  await refresh(cluster.url, "trips", "TRIP_CLOSED");
  await refresh(cluster.url, "trips", "DRIVER_MOVED");
  await refresh(cluster.url, "trips", "ALL");
  await waitFor(() => all.refreshes.length === 4, { what: "four refreshes" });

  expect(all.refreshes[0]).toEqual({ namespace: "trips", scope: "TRIP_APPROVED", payload: { tripId: 42 }, id });
  expect(approved).toEqual(["TRIP_APPROVED", "DRIVER_MOVED", "ALL"]);
  expect(all.errors).toHaveLength(8);
  expect(all.errors[0]).toMatchObject({ code: "HANDLER_FAILED", cause: failure });
});

test("a client whose node is killed hears on the other what it missed, once and in order", async () => {
  const all = heard();
  const client = create();
  client.onRefresh("trips", (told) => all.refreshes.push(told));
  const chat = client.subscribe("chat", (payload, told) => all.messages.push({ payload, message: told }));
  const room = client.join("trip:42", { namespace: "trips" });
  await Promise.all([chat.ready, room.ready]);
  const states: Status[] = [];
  client.onStatus((status) => states.push(status));
  const { mine, other } = nodesOf(client);

  await message(other.url, "chat", { text: "before" });
  await mine.kill();
  await message(other.url, "chat", { text: "missed" });
  await refresh(other.url, "trips", "TRIP_MISSED", { to: { rooms: ["trip:42"] } });
  await waitFor(() => states.at(-1)?.state === "connected", { what: "the client to be back", timeoutMs: 30_000 });
  await message(other.url, "chat", { text: "after" });
  await refresh(other.url, "trips", "TRIP_LIVE", { to: { rooms: ["trip:42"] } });
  await waitFor(() => all.messages.length === 3 && all.refreshes.length === 2, { what: "what came after" });
  await mine.start();

  expect(all.messages.map(({ payload }) => payload)).toEqual([
    { text: "before" },
    { text: "missed" },
    { text: "after" },
  ]);
  expect(all.refreshes.map(({ scope }) => scope)).toEqual(["TRIP_MISSED", "TRIP_LIVE"]);
  expect(states.map(({ state }) => state)).toEqual(["connecting", "connected"]);
});

test("since brings what was published before, and a gap of one channel is told to it alone", async () => {
  const client = create();
  const gaps: Gap[] = [];
  const orders: number[] = [];
  const from = await message(cluster.url, "orders", { n: 1 });
  const second = await message(cluster.url, "orders", { n: 2 });

  const whole = client.subscribe("orders", ({ n }, { id }) => orders.push(n) && id, { since: from });
  const cut = client.subscribe("chat", () => {}, { since: "1-1", onGap: (gap) => gaps.push(gap) });
  const ready = await Promise.all([whole.ready, cut.ready]);
  await waitFor(() => gaps.length === 1 && orders.length === 1, { what: "the replay and the gap" });

  expect(second).not.toBe(from);
  expect(orders).toEqual([2]);
  expect(ready.map(({ recovered }) => recovered)).toEqual([true, false]);
  expect(gaps).toEqual([{ channel: "chat", id: expect.stringMatching(/^\d+-\d+$/) }]);
});

test("what can't be repaired is handed to onGap, to handlers as ALL, and reported where nobody takes it", async () => {
  const redis = await startRedis({ appendonly: "always" });
  const own = await startCluster({ nodes: 1, redis, nginx: false });
  const all = heard();
  const gaps: Gap[] = [];
  const client = createClient<Payloads>({ url: own.url, socket: QUICK, onError: (error) => all.errors.push(error) });
  const chat = client.subscribe("chat", () => {}, { onGap: (gap) => gaps.push(gap) });
  const orders = client.subscribe("orders", () => {});
  client.onRefresh("trips", (told) => all.refreshes.push(told));
  await Promise.all([chat.ready, orders.ready]);

  await redis.wipe();
  await waitFor(() => gaps.length === 1 && all.errors.length === 1 && all.refreshes.length === 1, {
    what: "the gap",
    timeoutMs: 30_000,
  });

  expect(gaps[0]).toMatchObject({ channel: "chat" });
  expect(all.errors[0]).toMatchObject({ code: "GAP_UNHANDLED" });
  expect(all.refreshes[0]).toMatchObject({ scope: "ALL" });
  client.close();
  await own.stop();
  await redis.stop();
});

test("a publication reaches everybody as JSON says it, and its sender; what JSON can't say is refused before it is sent", async () => {
  const all = heard();
  const client = create();
  const other = create({ auth: { user: "7" } });
  const date = new Date(0);
  const handler = (payload: unknown, told: object) => all.messages.push({ payload, message: told as never });
  await Promise.all([client.subscribe("chat", handler).ready, other.subscribe("chat", handler).ready]);
  const odd = { text: "hi", date, none: undefined, nan: Number.NaN, bytes: Buffer.from("a") };

  const { id } = await client.publish("chat", odd);
  await waitFor(() => all.messages.length === 2, { what: "both to hear it" });
  const cyclic: { text: string; self?: unknown } = { text: "" };
  cyclic.self = cyclic;
  const refusals = await Promise.allSettled([
    client.publish("chat", cyclic),
    client.publish("chat", 1n as never),
    client.publish("chat", undefined as never),
    client.publish("no channel" as never, null as never),
  ]);

  expect(all.messages[0]).toEqual({
    payload: { text: "hi", date: date.toISOString(), nan: null, bytes: { type: "Buffer", data: [97] } },
    message: { channel: "chat", id, from: "42", timestamp: expect.any(String) },
  });
  expect(all.messages[1]).toEqual(all.messages[0]);
  expect(refusals.map((refusal) => refusal.status === "rejected" && refusal.reason.code)).toEqual([
    "INVALID_JSON",
    "INVALID_JSON",
    "INVALID_JSON",
    "INVALID_CHANNEL",
  ]);
});

test("a room is joined while somebody holds it, by whatever comes first: a call, a signal, leave()", async () => {
  const scopes: string[] = [];
  const errors: string[] = [];
  const client = create({ onError: ({ code }) => errors.push(code) });
  client.onRefresh("trips", ({ scope }) => scopes.push(scope));
  const place = { namespace: "trips" };
  const abort = new AbortController();
  const first = client.join("trip:1", place);
  const second = client.join("trip:1", place, { signal: abort.signal });
  const third = client.join("trip:2", place);
  await Promise.all([first.ready, second.ready, third.ready]);
  const to = (room: string, scope: string) => refresh(cluster.url, "trips", scope, { to: { rooms: [room] } });

  first();
  first();
  await to("trip:1", "HELD");
  client.leave("trip:2", place);
  abort.abort();
  await client.join("trip:3", place).ready; // requests are answered in order
  await to("trip:2", "LEFT");
  await to("trip:1", "GONE");
  await refresh(cluster.url, "trips", "LAST");
  await waitFor(() => scopes.includes("LAST"), { what: "the last refresh" });

  expect(scopes).toEqual(["HELD", "LAST"]);
  expect(errors).toEqual([]);
  expect(await client.join("user:7", place).ready.catch((error) => error.code)).toBe("FORBIDDEN");
  expect(errors).toEqual(["FORBIDDEN"]);
});

test("a closed client has let go of everything, and says so", async () => {
  const abort = new AbortController();
  const client = create({ signal: abort.signal });
  const pending = create({ url: "http://127.0.0.1:9" });
  const waiting = pending.publish("chat", { text: "never" }).catch((error) => error.code);
  const chat = client.subscribe("chat", () => {});
  await chat.ready;

  abort.abort();
  pending.close();

  expect(client.status).toEqual({ state: "closed" });
  expect(await waiting).toBe("CLOSED");
  expect(() => client.subscribe("chat", () => {})).toThrow(expect.objectContaining({ code: "CLOSED" }));
  await expect(client.publish("chat", { text: "" })).rejects.toMatchObject({ code: "CLOSED" });
});

test("whoever comes back to a connection that died in silence is on another one within seconds, and has missed nothing", async () => {
  const [node] = cluster.nodes;
  const proxy = await startProxy(node!.port);
  const texts: string[] = [];
  const client = create({ url: `http://127.0.0.1:${proxy.port}` });
  await client.subscribe("chat", ({ text }) => texts.push(text)).ready;

  proxy.blackhole();
  await message(node!.url, "chat", { text: "missed" });
  client.setForeground(true);
  const began = performance.now();
  await waitFor(() => client.status.state === "connecting", { what: "the client to notice", timeoutMs: 15_000 });
  const tookMs = performance.now() - began;
  await proxy.restore();
  await waitFor(() => texts.length > 0, { what: "what it missed", timeoutMs: 30_000 });

  // Engine.IO's own pings would take 45 s.
  expect(tookMs).toBeLessThan(10_000);
  expect(texts).toEqual(["missed"]);
  client.close();
  await proxy.close();
});

test("refreshes that ask to be spread wait, and those of one scope become one", async () => {
  const node = await startNode({ COALESCE_MS: "0", REFETCH_BUDGET_PER_S: "1" });
  const client = create({ url: node.url });
  const heard: string[] = [];
  await client.onRefresh("trips", ({ scope, id }) => heard.push(`${scope} ${id}`)).ready;
  await refresh(node.url, "trips", "OTHER");
  const ids = await Promise.all([refresh(node.url, "trips", "SAME"), refresh(node.url, "trips", "SAME")]);
  await waitFor(() => heard.some((told) => told.startsWith("SAME")), { what: "the refresh" });
  await waitFor(() => heard.some((told) => told.startsWith("OTHER")), { what: "the other one" });

  const same = heard.filter((told) => told.startsWith("SAME"));
  expect(same.at(-1)).toBe(`SAME ${ids.sort().at(-1)}`);
  expect(same.length).toBeLessThanOrEqual(2);
  await node.stop();
});

test("the cluster knows whether somebody looks at this client, also after it came back", async () => {
  const client = create({ auth: { user: "watched" }, installationId: "phone" });
  client.setForeground(false);
  await client.onRefresh("notifications", () => {}).ready;
  client.seen(["event-1"]);
  const foreground = async () => {
    const { text } = await api(cluster.url).get("/api/presence/watched");
    return /"foreground":(true|false)/.exec(text)?.[1];
  };

  await waitFor(async () => (await foreground()) === "false", { what: "the background", timeoutMs: 20_000 });
  client.setForeground(true);
  await waitFor(async () => (await foreground()) === "true", { what: "the foreground", timeoutMs: 20_000 });
});
