/** `/events` as browsers use it, on a real node. */
import { connect as tcp } from "node:net";
import { api, type NodeServer, startNode, waitFor } from "@carillon/testkit";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { now, sign } from "../auth/kit.ts";
import { batch, message, refresh } from "./kit.ts";
import { OPERATOR, startGuarded } from "./support/guarded.ts";
import { EventStream, type StreamOptions } from "./support/plain.ts";

let open: NodeServer;
let guarded: NodeServer;
const opened: { close(): void }[] = [];
const QUICK = { PING_INTERVAL_MS: "300", PING_TIMEOUT_MS: "300", CONNECTS_PER_S: "5000", COALESCE_MS: "0" };

beforeAll(async () => {
  [open, guarded] = await Promise.all([
    startNode(QUICK),
    startGuarded({ ...QUICK, MAX_ROOMS_PER_CONNECTION: "3", MAX_CONNECTIONS_PER_USER: "2" }),
  ]);
});
afterEach(() => {
  for (const one of opened.splice(0)) one.close();
});
afterAll(() => Promise.all([open?.stop(), guarded?.stop()]));

async function connect(url: string, options?: StreamOptions): Promise<EventStream> {
  const stream = await EventStream.open(url, options);
  opened.push(stream);
  return stream;
}
const bearer = async (claims: object) => ({ authorization: `Bearer ${await sign({ ...claims })}` });
const ID = expect.stringMatching(/^\d+-\d+$/);

describe("events", () => {
  test("ready, then what is published on its channels and in its rooms, with the log's ids", async () => {
    const stream = await connect(open.url, {
      query: { channel: ["chat", "refresh.trips"], room: "trip:42", user: "7" },
    });
    const ready = await stream.next("ready");

    expect(stream.response?.headers.get("content-type")).toMatch(/^text\/event-stream/);
    expect(stream.response?.headers.get("cache-control")).toBe("no-store, no-transform");
    expect(stream.response?.headers.get("x-accel-buffering")).toBe("no");
    expect(stream.retryMs).toBeGreaterThanOrEqual(1000);
    expect(ready).toEqual({
      type: "ready",
      node: expect.any(String),
      user: "7",
      rooms: ["user:7", "chat/trip:42", "trips/trip:42"],
      channels: ["chat", "trips"],
      recovered: false,
      socket: expect.any(String),
      id: ID,
    });
    const id = await message(open.url, "chat", { n: 1 });
    await batch(open.url, [
      { channel: "chat", payload: "not for it", to: { rooms: ["trip:43"] } },
      { channel: "chat", payload: "for the room", to: { rooms: ["trip:42"] } },
      { channel: "chat", payload: "not for this user", to: { except: { users: ["7"] } } },
    ]);
    await refresh(open.url, "trips", "TRIP_APPROVED");
    await stream.next("REFRESH");

    expect(stream.events).toEqual(["ready", "notification", "notification", "refresh"]);
    expect(stream.heard[1]).toEqual({
      type: "notification",
      channel: "chat",
      payload: { n: 1 },
      id,
      timestamp: expect.any(String),
    });
    expect(stream.heard[2]).toMatchObject({ payload: "for the room" });
    expect(stream.heard[3]).toEqual({ type: "REFRESH", channel: "trips", scope: "TRIP_APPROVED", id: stream.lastId });
  });

  test("payloads keep their digits", async () => {
    const stream = await connect(open.url, { query: { channel: "digits" } });
    await stream.next("ready");

    await api(open.url).raw("POST", "/api/notifications/digits", '{"n":9007199254740993,"s":"a\\nb"}', {
      "content-type": "application/json",
    });

    await stream.next("notification", ({ payload }) => payload.s === "a\nb");
    expect(stream.text).toContain('"payload":{"n":9007199254740993,"s":"a\\nb"}');
  });

  test("heartbeats keep it open, and move on the id that a silent stream comes back with", async () => {
    const stream = await connect(open.url, { query: { channel: "silent" } });
    const { id } = await stream.next("ready");

    const later = await message(open.url, "elsewhere", 1);

    await waitFor(() => stream.lastId === later, { what: "the id of another channel's publication" });
    expect(id).not.toBe(later);
    expect(stream.events).toEqual(["ready"]);
    expect(stream.text).toMatch(/\n:\n/);
  });

  test("whoever comes back with the last id hears what was missed first; the header wins over the URL", async () => {
    const first = await message(open.url, "missed", 1);
    const second = await message(open.url, "missed", 2);
    await refresh(open.url, "trips", "A");
    await refresh(open.url, "trips", "A");
    const query = { channel: ["missed", "trips"], since: first };

    const stream = await connect(open.url, { query });
    const withHeader = await connect(open.url, { query, headers: { "last-event-id": second } });
    await Promise.all([stream.next("ready"), withHeader.next("ready")]);

    expect(stream.heard.map(({ type, payload }) => payload ?? type)).toEqual([2, "REFRESH", "ready"]);
    expect(stream.heard.at(-1)).toMatchObject({ recovered: true });
    expect(withHeader.heard.map(({ type }) => type)).toEqual(["REFRESH", "ready"]);
  });

  test("an id that is none of ours is told as a gap", async () => {
    const stream = await connect(open.url, { query: { channel: "chat", since: "nonsense" } });

    expect(await stream.next("ready")).toMatchObject({ recovered: false });
    expect(stream.heard[0]).toEqual({ type: "gap", id: ID });
    expect(stream.events).toEqual(["gap", "ready"]);
  });

  test("who doesn't read is dropped", async () => {
    const socket = tcp(open.port, "127.0.0.1");
    opened.push({ close: () => socket.destroy() });
    socket.on("error", () => {});
    let text = "";
    socket.on("data", (chunk) => {
      text += chunk;
    });
    socket.write("GET /events?channel=flood HTTP/1.1\r\nHost: x\r\n\r\n");
    await waitFor(() => text.includes("event: ready"), { what: "it to be ready" });
    socket.pause();
    // More than the kernel's buffers of both ends may grow to.
    const payload = "x".repeat(60_000);
    for (let i = 0; i < 30; i++)
      await batch(
        open.url,
        Array.from({ length: 20 }, () => ({ channel: "flood", payload })),
      );

    await waitFor(async () => (await open.metric("carillon_transports", { transport: "events" })) === 0, {
      what: "it to be gone",
    });
  });
});

describe("who may", () => {
  test.each<[string, StreamOptions & { claims?: object; token?: string }, number, string]>([
    ["nobody", { query: { channel: "news" } }, 401, "UNAUTHENTICATED"],
    ["a token that is over", { query: { channel: "news" }, claims: { exp: now() - 60 } }, 401, "TOKEN_EXPIRED"],
    ["a ticket that never was", { query: { channel: "news", ticket: "x" } }, 401, "UNAUTHENTICATED"],
    ["a channel that isn't granted", { query: { channel: ["news", "chat"] }, claims: {} }, 403, "FORBIDDEN"],
    ["a closed refresh namespace", { query: { channel: "users.refresh" }, claims: {} }, 403, "FORBIDDEN"],
    ["a room that isn't granted", { query: { channel: "news", room: "r" }, claims: {} }, 403, "FORBIDDEN"],
    ["somebody's own room", { query: { channel: "news", room: "user:1" }, claims: { rooms: ["*"] } }, 403, "FORBIDDEN"],
    ["no channel", { claims: {} }, 422, "INVALID_REQUEST"],
    ["no channel's name", { query: { channel: "a b" }, claims: {} }, 422, "INVALID_CHANNEL"],
    ["no room's name", { query: { channel: "news", room: "" }, claims: { rooms: ["*"] } }, 422, "INVALID_ROOM"],
    [
      "too many rooms",
      { query: { channel: "news", room: ["1", "2", "3", "4"] }, claims: { rooms: ["*"] } },
      429,
      "TOO_MANY_ROOMS",
    ],
    [
      "a foreign Origin",
      { query: { channel: "news" }, claims: {}, headers: { origin: "https://evil.example" } },
      403,
      "FORBIDDEN",
    ],
  ])("%s is refused before anything is sent", async (_what, { query, headers, claims }, status, code) => {
    const stream = await connect(guarded.url, {
      ...(query !== undefined && { query }),
      headers: { ...headers, ...(claims !== undefined && (await bearer(claims))) },
    });
    await waitFor(() => stream.ended, { what: "the answer" });

    expect([stream.response?.status, stream.response?.headers.get("content-type")]).toEqual([
      status,
      "application/problem+json; charset=utf-8",
    ]);
    expect(JSON.parse(stream.text)).toMatchObject({ code, status });
    await waitFor(
      async () =>
        /carillon_transports\{transport="events"\} 0/.test((await api(guarded.url).get("/metrics", OPERATOR)).text),
      {
        what: "nothing to be left of it",
      },
    );
  });

  test("a user's own limit is 503 with Retry-After", async () => {
    const headers = await bearer({ sub: "many" });
    for (let i = 0; i < 2; i++)
      await (await connect(guarded.url, { query: { channel: "news" }, headers })).next("ready");

    const third = await connect(guarded.url, { query: { channel: "news" }, headers });

    expect(third.response?.status).toBe(503);
    expect(Number(third.response?.headers.get("retry-after"))).toBeGreaterThan(0);
  });

  test("a ticket opens its own stream again and again, until the token ends", async () => {
    const headers = await bearer({ sub: "t", exp: now() - 24 });
    const { ticket } = (await api(guarded.url).post("/api/tickets", undefined, headers)).body;
    const query = { channel: "news", ticket };
    const first = await connect(guarded.url, { query });
    expect(await first.next("ready")).toMatchObject({ user: "t" });
    first.close();
    const other = await connect(guarded.url, { query: { channel: "trips", ticket } });
    expect(other.response?.status).toBe(401);
    const second = await connect(guarded.url, { query });
    await second.next("ready");

    await waitFor(() => second.ended, { what: "the end of the token", timeoutMs: 15_000 });

    const third = await connect(guarded.url, { query });
    expect(third.response?.status).toBe(401);
  });

  test("a revocation and a drain end it", async () => {
    const revoked = await connect(guarded.url, { query: { channel: "news" }, headers: await bearer({ sub: "r" }) });
    await revoked.next("ready");
    await api(guarded.url).delete("/api/users/r/connections", undefined, OPERATOR);
    await waitFor(() => revoked.ended, { what: "the end" });
    const node = await startNode(QUICK);
    const moved = await connect(node.url, { query: { channel: "news" } });
    await moved.next("ready");

    const { code } = await node.stop();

    expect([code, moved.ended]).toEqual([0, true]);
  });

  test("other methods are told which there are", async () => {
    const answer = await api(open.url).post("/events?channel=chat", {});
    expect([answer.status, answer.headers.get("allow")]).toEqual([405, "GET"]);
    expect((await fetch(`${open.url}/events?channel=chat`, { method: "HEAD" })).status).toBe(405);
  });

  test("a page whose Origin may call can read it", async () => {
    const node = await startNode({ ...QUICK, CORS_ORIGINS: "https://app.example" });
    const stream = await connect(node.url, { query: { channel: "news" }, headers: { origin: "https://app.example" } });

    await stream.next("ready");

    expect(stream.response?.headers.get("access-control-allow-origin")).toBe("https://app.example");
    stream.close();
    await node.stop();
  });
});

test("with WS_PORT streams and plain WebSockets are there, and no longer on PORT", async () => {
  const node = await startNode({ ...QUICK, WS_PORT: "0" });
  const port = node.logs.find(({ msg }) => msg === "listening")?.wsPort;
  expect(await api(node.url).get("/events?channel=news")).toMatchObject({ status: 404, body: { code: "NOT_FOUND" } });
  expect(await api(node.url).get("/ws")).toMatchObject({ status: 404, body: { code: "NOT_FOUND" } });
  const stream = await connect(`http://127.0.0.1:${port}`, { query: { channel: "news" } });
  await stream.next("ready");

  const id = await message(node.url, "news", 1);

  expect(await stream.next("notification")).toMatchObject({ id });
  stream.close();
  await node.stop();
});
