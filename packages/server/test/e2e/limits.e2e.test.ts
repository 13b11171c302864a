/** What each client, user, key and address may use, on real nodes. */
import { connect as tcp } from "node:net";
import { api, type Client, type NodeServer, type RedisServer, startRedis, waitFor } from "@carillon/testkit";
import { afterAll, afterEach, beforeAll, expect, test } from "vitest";
import { WebSocket } from "ws";
import { sign } from "../auth/kit.ts";
import { Raw } from "./kit.ts";
import { connectAs, connectWith, OPERATOR, outcome, startGuarded } from "./support/guarded.ts";

let redis: RedisServer;
let nodes: NodeServer[];
const opened: { close(): void }[] = [];
const LIMITS = {
  MAX_CONNECTIONS_PER_USER: "4",
  MAX_CONNECTIONS_PER_ADDRESS: "30",
  MESSAGES_PER_S: "20",
  PUBLISHES_PER_KEY_PER_S: "10",
  PUBLISHES_PER_USER_PER_S: "2",
  MAX_HEADER_BYTES: "8192",
  HEADERS_TIMEOUT_MS: "1000",
  CONNECT_TIMEOUT_MS: "4000",
  DRAIN_TIMEOUT_S: "2",
};

beforeAll(async () => {
  redis = await startRedis();
  nodes = await Promise.all([1, 2].map(() => startGuarded({ REDIS_URL: redis.url, ...LIMITS })));
});
afterEach(async () => {
  for (const client of opened.splice(0)) client.close();
  for (const node of nodes)
    await waitFor(async () => (await metric(node, "carillon_transports")) === 0, { what: "everybody to be gone" });
});
afterAll(async () => {
  await Promise.all(nodes?.map((node) => node.stop(3000)) ?? []);
  await redis?.stop();
});

async function metric(node: NodeServer, name: string): Promise<number> {
  const { text } = await api(node.url).get("/metrics", OPERATOR);
  return [...text.matchAll(new RegExp(`^${name}(?:\\{.*\\})? (\\S+)$`, "gm"))].reduce(
    (sum, [, value]) => sum + Number(value),
    0,
  );
}
function keep<T extends { close(): void }>(client: T): T {
  opened.push(client);
  return client;
}
const at = (i: number): NodeServer => nodes[i % nodes.length]!;
const limited = {
  ok: false,
  error: { code: "RATE_LIMITED", message: expect.any(String), retryAfterS: expect.any(Number) },
};

test("a user's connections are counted over all nodes; one more is a connect error, and one less is room", async () => {
  const clients: Client[] = [];
  for (let i = 0; i < 4; i++) clients.push(keep(await connectAs(at(i).url, "/trips", { sub: "crowd" })));
  expect(await Promise.all(clients.map(outcome))).toEqual(["connected", "connected", "connected", "connected"]);

  const refused = keep(await connectAs(at(1).url, "/trips", { sub: "crowd" }));
  expect(await outcome(refused)).toBe("TOO_MANY_CONNECTIONS");
  expect(refused.socket.active).toBe(false);
  // More namespaces on one transport are no more connections.
  const second = clients[0]!.socket.io.socket("/channels", { auth: { token: await sign({ sub: "crowd" }) } });
  keep({ close: () => void second.disconnect() });
  await waitFor(() => second.connected, { what: "another namespace" });
  expect(await outcome(keep(await connectAs(at(0).url, "/trips", { sub: "somebody else" })))).toBe("connected");
  clients[1]!.close();

  await waitFor(
    async () => (await outcome(keep(await connectAs(at(0).url, "/trips", { sub: "crowd" })))) === "connected",
    { what: "a free seat" },
  );
});

test("connections of a node that was killed are no longer counted", async () => {
  const node = await startGuarded({ REDIS_URL: redis.url, ...LIMITS });
  for (let i = 0; i < 4; i++)
    expect(await outcome(keep(await connectAs(node.url, "/trips", { sub: "orphan" }, { reconnection: false })))).toBe(
      "connected",
    );
  expect(await outcome(keep(await connectAs(at(0).url, "/trips", { sub: "orphan" })))).toBe("TOO_MANY_CONNECTIONS");

  await node.kill();

  await waitFor(
    async () => (await outcome(keep(await connectAs(at(0).url, "/trips", { sub: "orphan" })))) === "connected",
    { what: "the dead node to be noticed", timeoutMs: 12_000, everyMs: 500 },
  );
});

test("an address has its own limit, a spoofed X-Forwarded-For changes nothing, and the answer is 503 so that clients come back", async () => {
  const url = `${at(0).url.replace("http", "ws")}/socket.io/?EIO=4&transport=websocket`;
  const open = (forwarded: string) =>
    new WebSocket(url, { headers: { "x-forwarded-for": forwarded } }).on("error", () => {});
  const sockets = Array.from({ length: 30 }, (_, i) => keep(open(`203.0.113.${i}`)));
  await waitFor(async () => (await metric(at(0), "carillon_transports")) === 30, { what: "thirty transports" });

  const answer = await api(at(0).url).get("/socket.io/?EIO=4&transport=polling", { "x-forwarded-for": "198.51.100.1" });
  expect([answer.status, answer.headers.get("retry-after"), answer.body.code]).toEqual([
    503,
    "10",
    "TOO_MANY_CONNECTIONS",
  ]);
  expect(answer.body).toMatchObject({ status: 503, requestId: answer.headers.get("x-request-id") });
  const client = keep(await connectAs(at(0).url, "/trips", {}));
  for (const socket of sockets) socket.close();

  expect(await outcome(client)).toBe("connected");
});

test("behind a proxy that is trusted, each client is its own address", async () => {
  const node = await startGuarded({
    ...LIMITS,
    MAX_CONNECTIONS_PER_ADDRESS: "1",
    TRUST_PROXY: "loopback",
    CONNECT_TIMEOUT_MS: "10000",
  });
  const handshake = async (forwarded: string) =>
    (await api(node.url).get("/socket.io/?EIO=4&transport=polling", { "x-forwarded-for": forwarded })).status;

  expect(await Promise.all(["203.0.113.1", "203.0.113.2", "2001:db8::1"].map(handshake))).toEqual([200, 200, 200]);
  expect(await Promise.all(["203.0.113.1", "9.9.9.9, 203.0.113.2", "2001:db8::2"].map(handshake))).toEqual([
    503, 503, 503,
  ]);
  await node.stop(3000);
});

test("messages over the rate are refused with a time, and who never slows down is disconnected", async () => {
  const client = keep(await connectAs(at(0).url, "/trips", {}, { reconnection: false }));
  await client.ready;
  const answers = await Promise.all(Array.from({ length: 120 }, () => client.ask("state", { foreground: true })));
  expect(answers.slice(0, 100).every(({ ok }) => ok)).toBe(true);
  expect(answers.at(-1)).toEqual(limited);
  expect(client.socket.connected).toBe(true);

  for (let i = 0; i < 300; i++) client.socket.emit("state", { foreground: true });

  await waitFor(() => !client.socket.connected, { what: "the abuser to be disconnected" });
  expect(await metric(at(0), "carillon_abuse_closed_total")).toBe(1);
});

test("a key's publications are counted over all nodes, batches by their items", async () => {
  const headers = { authorization: "Bearer chat-secret" };
  const publications = Array.from({ length: 30 }, () => ({ channel: "chat", payload: 1 }));
  const statuses: number[] = [];
  for (let i = 0; i < 3; i++)
    statuses.push((await api(at(i).url).post("/api/publications", { publications }, headers)).status);
  const more = await api(at(1).url).post("/api/publications", { publications }, headers);

  expect(statuses).toEqual([202, 202, 202]);
  expect(more).toMatchObject({ status: 429, body: { code: "RATE_LIMITED" } });
  expect(Number(more.headers.get("retry-after"))).toBeGreaterThanOrEqual(1);
  expect((await api(at(0).url).post("/api/notifications/chat", 1, { authorization: "Bearer web-secret" })).status).toBe(
    202,
  );
});

test("a user's publications are counted together, on sockets and by REST, and while Redis is away by the node alone", async () => {
  const claims = { sub: "chatty", channels: ["chat"], publish: ["chat"] };
  const headers = { authorization: `Bearer ${await sign(claims)}` };
  const client = keep(await connectAs(at(0).url, "/channels", claims));
  await client.ready;
  const outcomes: boolean[] = [];
  for (let i = 0; i < 12; i++) {
    outcomes.push((await client.ask("publish", { channel: "chat", payload: i })).ok);
    outcomes.push((await api(at(1).url).post("/api/notifications/chat", i, headers)).status === 202);
  }

  expect(outcomes.filter(Boolean).length).toBe(20);
  expect(await client.ask("publish", { channel: "chat", payload: 0 })).toEqual(limited);

  await redis.kill();
  const local = await api(at(0).url).post("/api/notifications/chat", 1, {
    authorization: `Bearer ${await sign({ ...claims, sub: "calm" })}`,
  });
  expect(local.body.code).toBe("BUS_UNAVAILABLE");
  expect(await outcome(keep(await connectAs(at(0).url, "/trips", { sub: "late" })))).toBe("connected");
  expect(await metric(at(0), "carillon_limits_local_total")).toBeGreaterThanOrEqual(2);
  await redis.start();
  await waitFor(
    async () =>
      (await api(at(0).url).post("/api/notifications/chat", 1, { authorization: "Bearer web-secret" })).status === 202,
    { what: "Redis" },
  );
});

test("headers that are too long are 431, those that never end are cut off, and so is a transport that never asks for anything", async () => {
  expect(await api(at(0).url).get("/healthz", { "x-long": "y".repeat(9000) })).toMatchObject({
    status: 431,
    body: { code: "HEADERS_TOO_LARGE" },
  });
  const slow = tcp(at(0).port, "127.0.0.1");
  let answer = "";
  slow.on("data", (data) => {
    answer += String(data);
  });
  slow.on("error", () => {});
  slow.write("GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: x\r\n");
  const idle = keep(await Raw.open(at(0).url));

  await waitFor(() => slow.closed, { what: "the slow handshake to be cut off", timeoutMs: 8000 });
  await waitFor(() => idle.closed, { what: "the idle transport to be closed", timeoutMs: 8000 });
  expect(answer).toContain("HTTP/1.1 408");
});

test("nesting and payloads are bounded on every way in", async () => {
  const deep = `${"[".repeat(5000)}${"]".repeat(5000)}`;
  const rest = await api(at(0).url).raw("POST", "/api/notifications/chat", deep, {
    authorization: "Bearer web-secret",
    "content-type": "application/json",
  });
  const client = keep(connectWith(at(0).url, "/channels", { token: await sign({ publish: ["chat"] }) }));
  await client.ready;

  expect(rest).toMatchObject({ status: 422, body: { code: "INVALID_REQUEST" } });
  expect(await client.ask("publish", { channel: "chat", payload: JSON.parse(deep.slice(4800, 5200)) })).toMatchObject({
    ok: false,
    error: { code: "INVALID_REQUEST" },
  });
  expect(await client.ask("publish", { channel: "chat", payload: "x".repeat(70_000) })).toMatchObject({
    ok: false,
    error: { code: "PAYLOAD_TOO_LARGE" },
  });
});
