/** `/ws` by its documented frames, on a real node. */
import { api, type NodeServer, startNode, waitFor } from "@carillon/testkit";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { now, sign } from "../auth/kit.ts";
import { message, refresh } from "./kit.ts";
import { OPERATOR, publish, startGuarded } from "./support/guarded.ts";
import { type PlainOptions, PlainSocket } from "./support/plain.ts";

let open: NodeServer;
let guarded: NodeServer;
const opened: { close(): void }[] = [];
const QUICK = { PING_INTERVAL_MS: "500", PING_TIMEOUT_MS: "1000", CONNECTS_PER_S: "5000", COALESCE_MS: "0" };

beforeAll(async () => {
  [open, guarded] = await Promise.all([
    startNode({ ...QUICK, REFETCH_BUDGET_PER_S: "1" }),
    startGuarded({ ...QUICK, CONNECT_TIMEOUT_MS: "1500", MESSAGES_PER_S: "1000" }),
  ]);
});
afterEach(() => {
  for (const one of opened.splice(0)) one.close();
});
afterAll(() => Promise.all([open?.stop(), guarded?.stop()]));

async function connect(url: string, options?: PlainOptions): Promise<PlainSocket> {
  const plain = await PlainSocket.open(url, options);
  opened.push(plain);
  return plain;
}
const asUser = async (claims: object): Promise<PlainOptions> => ({
  headers: { authorization: `Bearer ${await sign({ ...claims })}` },
});
const ID = expect.stringMatching(/^\d+-\d+$/);

describe("frames", () => {
  test("each request has its documented answer, with its ref", async () => {
    const plain = await connect(open.url, { query: { user: "42", role: "driver", tenant: "acme" } });
    const ready = await plain.next("ready");

    expect(ready).toEqual({
      type: "ready",
      node: expect.any(String),
      user: "42",
      rooms: ["user:42", "role:driver", "tenant:acme"],
      channels: [],
      recovered: false,
      session: expect.any(String),
      socket: expect.stringMatching(/^~/),
      id: ID,
    });
    const ask = async (frame: object) => {
      const { ref: _, ...answer } = await plain.ask(frame);
      return answer;
    };
    expect(await ask({ type: "subscribe", channel: "answers" })).toEqual({
      type: "subscribed",
      channel: "answers",
      id: ID,
      recovered: false,
    });
    expect(await ask({ type: "join", channel: "answers", room: 42 })).toEqual({
      type: "joined",
      channel: "answers",
      room: "42",
    });
    expect(await ask({ type: "leave", channel: "answers", room: "42" })).toEqual({
      type: "left",
      channel: "answers",
      room: "42",
    });
    expect(await ask({ type: "publish", channel: "answers", payload: null })).toEqual({ type: "published", id: ID });
    expect(await ask({ type: "state", foreground: true })).toEqual({ type: "noted" });
    expect(await ask({ type: "seen", ids: ["e1"] })).toEqual({ type: "noted" });
    expect(await ask({ type: "auth", token: "any" })).toEqual({ type: "authenticated" });
    expect(await ask({ type: "unsubscribe", channel: "answers" })).toEqual({
      type: "unsubscribed",
      channel: "answers",
    });
    expect(await ask({ type: "ping" })).toEqual({ type: "pong" });
    plain.say('{"type":"ping","ref":9007199254740993}');
    await waitFor(() => plain.frames.includes('{"type":"pong","ref":9007199254740993}'), {
      what: "the ref, digit for digit",
    });
    plain.say({ type: "ping" });
    await waitFor(() => plain.frames.includes('{"type":"pong"}'), { what: "an answer without ref" });
  });

  test("publications have their documented shapes, and payloads their digits", async () => {
    const plain = await connect(open.url, { query: { user: "u" } });
    for (const channel of ["shapes", "trips"]) await plain.ask({ type: "subscribe", channel });

    const id = await message(open.url, "shapes", "text");
    await api(open.url).raw("POST", "/api/notifications/shapes", '{"n":9007199254740993,"x":1.10}', {
      "content-type": "application/json",
    });
    await refresh(open.url, "trips", "TRIP_APPROVED", { payload: { eventId: "e" } });
    const { id: published } = await plain.ask({ type: "publish", channel: "shapes", payload: { mine: true } });

    expect(await plain.next("notification", (told) => told.id === id)).toEqual({
      type: "notification",
      channel: "shapes",
      payload: "text",
      id,
      timestamp: expect.stringMatching(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/),
    });
    expect(plain.frames.some((frame) => frame.includes('"payload":{"n":9007199254740993,"x":1.10}'))).toBe(true);
    expect(await plain.next("REFRESH")).toEqual({
      type: "REFRESH",
      channel: "trips",
      scope: "TRIP_APPROVED",
      id: ID,
      payload: { eventId: "e" },
      spreadMs: expect.any(Number),
    });
    expect(await plain.next("notification", (told) => told.from === "u")).toMatchObject({ id: published, from: "u" });
  });

  test("a client's own payload keeps its digits", async () => {
    const plain = await connect(open.url);
    await plain.ask({ type: "subscribe", channel: "digits" });

    plain.say('{"type":"publish","channel":"digits","payload":[9007199254740993,1e400,0.10]}');

    await plain.next("notification");
    expect(plain.frames.some((frame) => frame.includes('"payload":[9007199254740993,1e400,0.10]'))).toBe(true);
  });

  test("what is none of the protocol gets an error and costs nothing else; the tenth in a row closes", async () => {
    const plain = await connect(open.url);
    await plain.next("ready");
    const bad: [frame: string | Buffer, code: string][] = [
      ["", "INVALID_JSON"],
      ["{", "INVALID_JSON"],
      ["42", "INVALID_REQUEST"],
      ["[]", "INVALID_REQUEST"],
      ['{"channel":"x"}', "INVALID_REQUEST"],
      ['{"type":"auth:refresh"}', "UNKNOWN_EVENT"],
      ['{"type":"__proto__"}', "UNKNOWN_EVENT"],
      ['{"type":"ping","ref":{}}', "INVALID_REQUEST"],
      [Buffer.from('{"type":"ping"}'), "INVALID_REQUEST"],
    ];
    for (const [frame, code] of bad.slice(1)) {
      plain.say(frame);
      await plain.next("error", (told) => told.code === code);
    }
    expect(await plain.ask({ type: "subscrib" })).toMatchObject({ type: "error", code: "UNKNOWN_EVENT" });
    expect((await plain.ask({ type: "ping" })).type).toBe("pong");
    // A request that is refused is one of the protocol.
    for (let i = 0; i < 12; i++)
      expect((await plain.ask({ type: "subscribe", channel: " " })).code).toBe("INVALID_CHANNEL");

    for (let i = 0; i < 10; i++) plain.say("nonsense");

    expect((await plain.ended()).code).toBe(1008);
  });

  test("a frame that is too large closes with 1009, text that is no UTF-8 with 1007, fragments are one frame", async () => {
    const [large, broken, pieces] = await Promise.all([connect(open.url), connect(open.url), connect(open.url)]);
    large.say(`{"type":"ping","more":"${"x".repeat(400_000)}"}`);
    expect((await large.ended()).code).toBe(1009);
    broken.socket.send(Buffer.from([0xc3, 0x28]), { binary: false });
    expect((await broken.ended()).code).toBe(1007);
    pieces.socket.send('{"type":', { fin: false });
    pieces.socket.send('"ping"}', { fin: true });
    await pieces.next("pong");
  });

  test("a request that is not an upgrade, or a wrong one, is told so", async () => {
    const answer = await api(open.url).get("/ws");
    expect([answer.status, answer.body.code]).toEqual([400, "BAD_REQUEST"]);
  });
});

describe("who is it", () => {
  test("a token in the first frame lets in; what arrives with it is heard after it, in order", async () => {
    const plain = await connect(guarded.url);
    plain.say({ type: "auth", token: await sign({ sub: "7", channels: ["chat"] }), ref: 1 });
    plain.say({ type: "subscribe", channel: "chat" });
    plain.say({ type: "ping" });

    await plain.next("subscribed");
    expect(plain.heard[0]).toMatchObject({ type: "ready", user: "7", ref: 1 });
    const id = await publish(guarded.url, "chat", "hello");
    expect(await plain.next("notification")).toMatchObject({ id, payload: "hello" });
  });

  test("a header lets in, and so does a ticket, once", async () => {
    const token = await sign({ sub: "8", channels: ["chat"] });
    const header = await connect(guarded.url, { headers: { authorization: `Bearer ${token}` } });
    expect(await header.next("ready")).toMatchObject({ user: "8" });
    const { ticket } = (await api(guarded.url).post("/api/tickets", undefined, { authorization: `Bearer ${token}` }))
      .body;

    const first = await connect(guarded.url, { query: { ticket } });
    expect(await first.next("ready")).toMatchObject({ user: "8" });
    const second = await connect(guarded.url, { query: { ticket } });

    expect(await second.next("error")).toMatchObject({ code: "UNAUTHENTICATED" });
    expect(await second.ended()).toEqual({ code: 4001, reason: "UNAUTHENTICATED" });
    const both = await connect(guarded.url, { query: { ticket }, headers: { authorization: `Bearer ${token}` } });
    expect((await both.ended()).code).toBe(4001);
  });

  test.each([
    ["no token of ours", () => "x.y.z", {}, 4001, "UNAUTHENTICATED"],
    ["one that is over", () => sign({ exp: now() - 60 }), {}, 4002, "TOKEN_EXPIRED"],
    ["another user's", () => sign({ sub: "1" }), { user: "2" }, 4001, "UNAUTHENTICATED"],
  ])("%s is refused with its code", async (_what, token, more, code, reason) => {
    const plain = await connect(guarded.url);

    plain.say({ type: "auth", token: await token(), ref: "a", ...more });

    expect(await plain.next("error")).toMatchObject({ code: reason, ref: "a" });
    expect(await plain.ended()).toEqual({ code, reason });
  });

  test("before that every other frame is refused; nobody waits for it for ever", async () => {
    const plain = await connect(guarded.url);
    expect((await plain.ask({ type: "subscribe", channel: "news" })).code).toBe("UNAUTHENTICATED");
    expect((await plain.ask({ type: "ping" })).code).toBe("UNAUTHENTICATED");

    expect(await plain.ended()).toEqual({ code: 4001, reason: "UNAUTHENTICATED" });
    const busy = await connect(guarded.url);
    for (let i = 0; i < 10; i++) busy.say({ type: "ping" });
    expect((await busy.ended()).code).toBe(1008);
  });

  test("another token renews it, of the same user only, and takes away what it doesn't grant", async () => {
    const plain = await connect(guarded.url, await asUser({ sub: "9", channels: ["chat"], exp: now() - 27 }));
    await plain.ask({ type: "subscribe", channel: "chat" });
    expect(await plain.ask({ type: "auth", token: await sign({ sub: "9" }) })).toMatchObject({ type: "authenticated" });
    await new Promise((resolve) => setTimeout(resolve, 5000)); // the first token is over
    expect((await plain.ask({ type: "subscribe", channel: "chat" })).code).toBe("FORBIDDEN");

    const answer = await plain.ask({ type: "auth", token: await sign({ sub: "10" }) });

    expect(answer).toMatchObject({ type: "error", code: "FORBIDDEN" });
    expect(await plain.ended()).toEqual({ code: 4004, reason: "FORBIDDEN" });
  });

  test("an end of the token, a revocation and a drain have close codes of their own", async () => {
    const expiring = await connect(guarded.url, await asUser({ sub: "11", exp: now() - 28 }));
    const revoked = await connect(guarded.url, await asUser({ sub: "12" }));
    await Promise.all([expiring.next("ready"), revoked.next("ready")]);

    await api(guarded.url).delete("/api/users/12/connections", undefined, OPERATOR);

    expect(await revoked.ended()).toEqual({ code: 4003, reason: "REVOKED" });
    expect(await expiring.ended()).toEqual({ code: 4002, reason: "TOKEN_EXPIRED" });
    const node = await startNode(QUICK);
    const moved = await connect(node.url);
    await moved.next("ready");
    await node.stop();
    expect(await moved.ended()).toEqual({ code: 4202, reason: "DRAINING" });
  });

  test("pages of a foreign Origin are refused at the upgrade", async () => {
    const plain = new PlainSocket(guarded.url, { headers: { origin: "https://evil.example" } });
    opened.push(plain);

    const refusal = await waitFor(() => plain.refusal, { what: "a refusal" });
    expect([refusal.status, JSON.parse(refusal.text).code]).toEqual([403, "FORBIDDEN"]);
  });

  test("publishing needs the right to", async () => {
    const plain = await connect(guarded.url, await asUser({ sub: "13", publish: ["chat"] }));

    expect((await plain.ask({ type: "publish", channel: "orders", payload: 1 })).code).toBe("FORBIDDEN");
    expect((await plain.ask({ type: "publish", channel: "chat", payload: 1 })).type).toBe("published");
  });
});

describe("coming back", () => {
  test("since on subscribe has what was missed, each with its own id and the connection's position", async () => {
    const since = await message(open.url, "replayed", 0);
    const ids = [await message(open.url, "replayed", 1), await message(open.url, "replayed", 2)];
    const plain = await connect(open.url);

    const answer = await plain.ask({ type: "subscribe", channel: "replayed", since });

    expect(answer).toMatchObject({ id: since, recovered: true });
    await plain.next("notification", ({ payload }) => payload === 2);
    const replayed = plain.heard.filter(({ type }) => type === "notification");
    expect(replayed.map(({ id }) => id)).toEqual(ids);
    expect(replayed.map(({ position }) => position)).toEqual([expect.any(String), expect.any(String)]);
    expect((await plain.ask({ type: "subscribe", channel: "other", since: "never-was" })).recovered).toBe(false);
    expect(await plain.next("gap")).toEqual({ type: "gap", channels: ["other"], id: ID });
  });

  test("a session gives its rooms and subscriptions back, and what was missed comes before ready", async () => {
    const before = await connect(open.url, { query: { user: "5" } });
    const { session } = await before.next("ready");
    await before.ask({ type: "subscribe", channel: "kept" });
    await before.ask({ type: "join", channel: "kept", room: "r1" });
    const since = await message(open.url, "kept", "heard");
    await before.next("notification");
    before.close();
    await waitFor(async () => (await open.metric("carillon_connections", { namespace: "ws" })) === 0, {
      what: "it to be gone",
    });
    await message(open.url, "kept", "missed");

    const after = await connect(open.url, { query: { user: "5", session, since } });

    expect(await after.next("ready")).toMatchObject({
      recovered: true,
      channels: ["kept"],
      rooms: ["user:5", "kept/r1"],
    });
    expect(after.heard.map(({ type, payload }) => payload ?? type)).toEqual(["missed", "ready"]);
    const other = await connect(open.url, { query: { user: "6", session, since } });
    expect(await other.next("ready")).toMatchObject({ recovered: false, channels: [] });
  });
});

test("a peer that doesn't answer pings is dropped, and one that does is not", async () => {
  const alive = await connect(open.url);
  const dead = await connect(open.url);
  await Promise.all([alive.next("ready"), dead.next("ready")]);
  dead.socket.pause();

  await waitFor(async () => (await open.metric("carillon_transports", { transport: "ws" })) === 1, {
    what: "it to be dropped",
  });

  expect((await alive.ask({ type: "ping" })).type).toBe("pong");
});
