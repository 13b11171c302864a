/** Who is let in, for how long, and what they may do then (contract, section 7), on real nodes. */
import {
  api,
  type Client,
  freePort,
  type NetworkProxy,
  NodeServer as Node,
  type NodeServer,
  type RedisServer,
  startProxy,
  startRedis,
  waitFor,
} from "@carillon/testkit";
import { afterAll, afterEach, beforeAll, describe, expect, onTestFinished, test } from "vitest";
import { httpStub, keyPair, now, sign } from "../auth/kit.ts";
import { away, moveTo, Raw } from "./kit.ts";
import {
  connectAs,
  connectWith,
  GUARDED,
  OPERATOR,
  outcome,
  publish,
  refreshAll,
  SERVER,
  startGuarded,
} from "./support/guarded.ts";
import { startRedisTap } from "./support/redis-tap.ts";

let redis: RedisServer;
let proxy: NetworkProxy;
/** The third reaches Redis through the proxy. */
let nodes: NodeServer[];
const opened: { close(): void }[] = [];

beforeAll(async () => {
  redis = await startRedis({ appendonly: "always" });
  proxy = await startProxy(redis.port);
  nodes = await Promise.all(
    [redis.port, redis.port, proxy.port].map(async (port) =>
      startGuarded({
        REDIS_URL: `redis://127.0.0.1:${port}`,
        PORT: `${await freePort()}`,
        APPEND_TIMEOUT_MS: "1000",
        DRAIN_TIMEOUT_S: "2",
      }),
    ),
  );
});
afterEach(() => {
  for (const client of opened.splice(0)) client.close();
});
afterAll(async () => {
  await Promise.all(nodes?.map((node) => node.stop(3000)) ?? []);
  await proxy?.close();
  await redis?.stop();
});

/** Codes of the refusals that a client heard. */
const refusals = new WeakMap<object, string[]>();

function keep<T extends { close(): void }>(client: T): T {
  opened.push(client);
  const heard: string[] = [];
  refusals.set(client, heard);
  if ("ready" in client) {
    (client as unknown as Client).socket.on("connect_error", (error: Error & { data?: { code?: string } }) => {
      if (error.data?.code !== undefined) heard.push(error.data.code);
    });
  }
  return client;
}
const [first, second, third] = [() => nodes[0]!, () => nodes[1]!, () => nodes[2]!];
const closed = (client: Client, timeoutMs = 10_000) =>
  waitFor(() => !client.socket.connected, { what: "the transport to be closed", timeoutMs });

describe("the handshake", () => {
  test.each([
    ["no token", async () => ({}), "UNAUTHENTICATED"],
    ["nonsense", async () => ({ token: "x.y.z" }), "UNAUTHENTICATED"],
    ["an object", async () => ({ token: { a: 1 } }), "UNAUTHENTICATED"],
    [
      "another key",
      async () => ({ token: await sign({}, { key: new TextEncoder().encode("x".repeat(40)) }) }),
      "UNAUTHENTICATED",
    ],
    ["an expired token", async () => ({ token: await sign({ exp: now() - 40 }) }), "TOKEN_EXPIRED"],
    ["an API key", async () => ({ token: "web-secret" }), "UNAUTHENTICATED"],
    ["somebody else's connection", async () => ({ token: await sign(), user: "43" }), "UNAUTHENTICATED"],
    ["a role that is missing", async () => ({ token: await sign({ roles: ["driver"] }) }), "FORBIDDEN"],
    ["a role that is there", async () => ({ token: await sign({ roles: ["admin"] }) }), "connected"],
  ])("with %s: %s", async (_what, auth, code) => {
    expect(await outcome(keep(connectWith(first().url, "/users", await auth())))).toBe(code);
  });

  test("a header serves instead of auth.token, on both transports, and must agree with it", async () => {
    const token = await sign();
    const extraHeaders = { authorization: `Bearer ${token}` };

    for (const transport of ["websocket", "polling"])
      expect(
        await outcome(keep(connectWith(first().url, "/trips", {}, { transports: [transport], extraHeaders }))),
      ).toBe("connected");
    expect(
      await outcome(keep(connectWith(first().url, "/trips", { token: await sign({ sub: "43" }) }, { extraHeaders }))),
    ).toBe("UNAUTHENTICATED");
  });

  test("nothing but the refusal is sent to who is not let in", async () => {
    const stranger = keep(await Raw.open(first().url));
    const friend = keep(await connectAs(first().url, "/trips", {}));
    await friend.ready;
    stranger.send('40/trips,{"token":"x"}');
    await refreshAll(first().url, "trips", "SECRET");
    await friend.next("refresh", ({ scope }) => scope === "SECRET");
    await stranger.next("44/trips,");

    expect(stranger.frames.filter((frame) => !frame.startsWith("0"))).toEqual([]);
  });

  test("keys that can't be had yet are a matter of coming back: the client connects by itself once they are there", async () => {
    const pair = await keyPair("ES256", "one");
    let status = 503;
    const issuer = await httpStub((_request, response) =>
      response.writeHead(status).end(JSON.stringify({ keys: [pair.jwk] })),
    );
    const node = await startGuarded({ JWT_SECRET: "", JWKS_URL: issuer.url });
    onTestFinished(async () => void (await node.stop(2000)));
    const token = await sign({}, { alg: "ES256", key: pair.privateKey, kid: "one" });
    const client = keep(connectWith(node.url, "/trips", { token }));
    await waitFor(() => issuer.requests.length > 0, { what: "the node to ask" });
    expect(
      await api(node.url).get("/api/channels/trips/publications", { authorization: `Bearer ${token}` }),
    ).toMatchObject({ status: 503, body: { code: "NOT_READY" } });

    status = 200;

    expect(await outcome(client)).toBe("connected");
  });

  test("a node that does not know yet who was logged out answers 503 and lets nobody in", async () => {
    const node = new Node({ ...GUARDED, REDIS_URL: `redis://127.0.0.1:${await freePort()}`, DRAIN_TIMEOUT_S: "1" });
    await node.start();
    onTestFinished(async () => void (await node.stop(2000)));

    const polling = await api(node.url).get("/socket.io/?EIO=4&transport=polling");
    const rest = await api(node.url).get("/api/channels/trips/publications", {
      authorization: `Bearer ${await sign()}`,
    });

    expect([polling.status, polling.headers.get("retry-after"), polling.body.code]).toEqual([503, "1", "NOT_READY"]);
    expect([rest.status, rest.body.code]).toEqual([503, "NOT_READY"]);
  });
});

describe("expiry", () => {
  test("closes the transport within 5 s of exp and leeway, and a stock client comes back with a fresh token", async () => {
    const exp = now() - 27;
    const tokens = [await sign({ exp }), await sign({ exp: now() + 300 })];
    const client = keep(
      connectWith(first().url, "/trips", ((give: (auth: object) => void) => give({ token: tokens.shift() })) as never),
    );
    await client.ready;

    await closed(client, 15_000);
    const lateMs = Date.now() - (exp + 30) * 1000;
    await client.next("ready", undefined, 10_000);
    await client.next("ready", undefined, 10_000);

    expect(lateMs).toBeGreaterThan(-100);
    expect(lateMs).toBeLessThan(5000);
  });

  test("auth:refresh before it keeps all connections of the transport, and theirs alone", async () => {
    const exp = now() - 26;
    const token = await sign({ exp });
    const trips = keep(connectWith(first().url, "/trips", { token }));
    await trips.ready;
    const channels = trips.socket.io.socket("/channels", { auth: { token } });
    await waitFor(() => channels.connected, { what: "the second namespace" });
    const other = keep(connectWith(first().url, "/trips", { token }, { reconnection: false }));
    await other.ready;

    expect(await trips.ask("auth:refresh", { token: await sign({ exp: now() + 300 }) })).toEqual({ ok: true });
    await closed(other, 15_000);
    await waitFor(() => Date.now() > (exp + 36) * 1000, { what: "the time after", timeoutMs: 15_000 });

    expect([trips.socket.connected, channels.connected]).toEqual([true, true]);
    expect(trips.events.filter(({ event }) => event === "ready")).toHaveLength(1);
  });

  test("a renewed token with fewer rights takes channels, rooms and roles away at once", async () => {
    const many = { channels: ["chat", "orders"], rooms: ["trip:*"], roles: ["driver"] };
    const channels = keep(await connectAs(first().url, "/channels", many));
    await channels.ready;
    const trips = keep(await connectAs(first().url, "/trips", many));
    await trips.ready;
    for (const channel of ["chat", "orders", "trips"])
      expect(await channels.ask("subscribe", { channel })).toMatchObject({ ok: true });
    expect(await channels.ask("join", { channel: "trips", room: "trip:1" })).toMatchObject({ ok: true });
    expect(await trips.ask("join", { room: "trip:1" })).toMatchObject({ ok: true });

    const token = await sign({ channels: ["orders"] });
    for (const client of [channels, trips]) expect(await client.ask("auth:refresh", { token })).toEqual({ ok: true });
    await publish(second().url, "chat", "secret");
    await refreshAll(second().url, "trips", "FOR_ROOM", { to: { rooms: ["trip:1"] } });
    await refreshAll(second().url, "trips", "FOR_ROLE", { to: { roles: ["driver"] } });
    await publish(second().url, "orders", "end");
    await refreshAll(second().url, "trips", "END");
    await channels.next("notification", ({ payload }) => payload === "end");
    for (const client of [trips, channels]) await client.next("refresh", ({ scope }) => scope === "END");

    expect(channels.events.map(({ args }) => args[0]?.payload ?? args[0]?.scope).filter(Boolean)).toEqual([
      "end",
      "END",
    ]);
    expect(trips.events.map(({ args }) => args[0]?.scope).filter(Boolean)).toEqual(["END"]);
    expect(await channels.ask("subscribe", { channel: "chat" })).toMatchObject({
      ok: false,
      error: { code: "FORBIDDEN" },
    });
    // And a resume does not bring it back.
    const heard = await away(channels, async () => {
      await publish(second().url, "chat", "secret again");
      await publish(second().url, "orders", "missed");
    });
    expect(heard.flatMap(({ args }) => args[0]?.payload ?? [])).toEqual(["missed"]);
  });

  test("what is being asked for while another connection of the transport renews its token is judged by the new one", async () => {
    const token = await sign({ sub: "racer", channels: ["chat", "news"], rooms: ["trip:*"] });
    const channels = keep(connectWith(third().url, "/channels", { token }));
    await channels.ready;
    const root = channels.socket.io.socket("/", { auth: { token } });
    const heard: unknown[] = [];
    root.on("notification", ({ payload }) => heard.push(payload));
    await waitFor(() => root.connected, { what: "the second namespace" });
    const ask = (event: string, body: object) => root.timeout(10_000).emitWithAck(event, body);
    expect(await ask("subscribe", { channel: "news" })).toMatchObject({ ok: true });

    proxy.blackhole(); // so that both wait for the store
    const asked = [ask("subscribe", { channel: "chat" }), ask("join", { channel: "news", room: "trip:1" })];
    const renewed = await channels.ask("auth:refresh", { token: await sign({ sub: "racer", channels: ["news"] }) });
    await proxy.restore();
    const answers = await Promise.all(asked);
    await publish(first().url, "chat", "secret");
    await publish(first().url, "news", "end");
    await waitFor(() => heard.includes("end"), { what: "the end" });

    expect(renewed).toEqual({ ok: true });
    expect(answers).toEqual([
      { ok: false, error: { code: "FORBIDDEN", message: expect.any(String) } },
      { ok: false, error: { code: "FORBIDDEN", message: expect.any(String) } },
    ]);
    expect(heard).toEqual(["end"]);
  });

  test("another user's token is refused and ends the connection; nonsense is refused and does not", async () => {
    const client = keep(await connectAs(first().url, "/trips", {}, { reconnection: false }));
    await client.ready;

    for (const token of [
      "x",
      await sign({ exp: now() - 40 }),
      await sign({}, { key: new TextEncoder().encode("y".repeat(40)) }),
    ])
      expect(await client.ask("auth:refresh", { token })).toMatchObject({ ok: false });
    expect(client.socket.connected).toBe(true);
    expect(await client.ask("auth:refresh", { token: await sign({ sub: "43" }) })).toMatchObject({
      ok: false,
      error: { code: "FORBIDDEN" },
    });
    await closed(client);
  });
});

describe("revocation", () => {
  const revoke = (node: NodeServer, user: string, query = "") =>
    api(node.url).delete(`/api/users/${encodeURIComponent(user)}/connections${query}`, undefined, OPERATOR);

  test("of one session closes exactly its connections, of the user all, on every node", async () => {
    const user = "rev|1";
    const at = async (node: NodeServer, sid: string) => {
      const client = keep(await connectAs(node.url, "/trips", { sub: user, sid, iat: now() - 60 }));
      await client.ready;
      return client;
    };
    const [a, b, c, d] = [
      await at(first(), "s1"),
      await at(second(), "s1"),
      await at(third(), "s2"),
      await at(first(), "s3"),
    ];
    const neighbour = keep(await connectAs(first().url, "/trips", { sub: "rev", sid: "s1", iat: now() - 60 }));
    await neighbour.ready;

    expect((await revoke(second(), user, "?sid=s1&reason=logout")).status).toBe(204);
    for (const client of [a, b]) expect(await refusalOf(client)).toBe("REVOKED");
    expect([c, d].map(({ socket }) => socket.connected)).toEqual([true, true]);
    expect((await revoke(first(), user)).status).toBe(204);
    for (const client of [c, d]) expect(await refusalOf(client)).toBe("REVOKED");

    expect(neighbour.socket.connected).toBe(true);
  });

  test("refuses handshakes, REST and tickets on every node, also after all of them restarted; a token issued since is good", async () => {
    const claims = { sub: "rev2", iat: now() - 5, channels: ["chat"] };
    const token = await sign(claims);
    const bearer = { authorization: `Bearer ${token}` };
    expect((await api(first().url).get("/api/channels/chat/publications", bearer)).status).toBe(200);
    const client = keep(connectWith(first().url, "/channels", { token }));
    await client.ready;
    const everywhere = async () => {
      for (const node of nodes) {
        expect(await outcome(keep(connectWith(node.url, "/trips", { token })))).toBe("REVOKED");
        expect(await api(node.url).get("/api/channels/chat/publications", bearer)).toMatchObject({
          status: 401,
          body: { code: "REVOKED" },
        });
        expect(await api(node.url).post("/api/tickets", undefined, bearer)).toMatchObject({
          status: 401,
          body: { code: "REVOKED" },
        });
      }
    };

    await revoke(third(), "rev2");
    // It comes back by itself, on another node, with what it had.
    moveTo(client, second().url);
    expect(await refusalOf(client)).toBe("REVOKED");
    await everywhere();
    await Promise.all(nodes.map((node) => node.kill()));
    await Promise.all(nodes.map((node) => node.start()));
    await everywhere();

    expect(await outcome(keep(await connectAs(first().url, "/trips", { sub: "rev2", iat: now() + 2 })))).toBe(
      "connected",
    );
    expect(await outcome(keep(await connectAs(first().url, "/trips", { sub: "rev2", iat: undefined })))).toBe(
      "REVOKED",
    );
  });

  test("a node that was cut off from Redis closes them within seconds of being back", async () => {
    const client = keep(await connectAs(third().url, "/trips", { sub: "rev3", iat: now() - 5 }));
    await client.ready;
    await proxy.cut();
    expect((await revoke(first(), "rev3")).status).toBe(204);
    expect((await revoke(third(), "rev3")).status).toBe(503);

    await proxy.restore();

    await waitFor(() => !client.socket.connected, { what: "the connection to be closed", timeoutMs: 12_000 });
    expect(await refusalOf(client)).toBe("REVOKED");
  });

  test("reaches who is just being let in: nothing is heard, and the next try is refused", async () => {
    const tap = await startRedisTap(redis.port);
    opened.push(tap);
    const node = await startGuarded({ REDIS_URL: tap.url });
    onTestFinished(async () => void (await node.stop(3000)));
    const token = await sign({ sub: "rev4", iat: now() - 5 });
    const inside = keep(connectWith(node.url, "/trips", { token }));
    await inside.ready;
    const held = tap.holdAnswer(":session:unheard-of");
    const entering = keep(connectWith(node.url, "/trips", { token, pid: "unheard-of", offset: "1-1" }));
    await held;

    expect((await revoke(first(), "rev4")).status).toBe(204);
    await closed(inside);
    tap.release();

    expect(await refusalOf(entering)).toBe("REVOKED");
    expect(entering.events).toEqual([]);
  });

  test("is for operators only", async () => {
    const remove = async (headers: Record<string, string>) =>
      (await api(first().url).delete("/api/users/x/connections", undefined, headers)).status;
    const user = async (claims: object) => ({ authorization: `Bearer ${await sign({ ...claims })}` });

    expect([
      await remove({}),
      await remove(SERVER),
      await remove(await user({})),
      await remove(await user({ roles: ["ops"] })),
    ]).toEqual([401, 403, 403, 204]);
  });

  /** It was closed, came back by itself, and was told. */
  function refusalOf(client: Client): Promise<unknown> {
    const refused = refusals.get(client);
    if (refused === undefined) throw new Error("ask for its refusals first");
    return waitFor(() => refused[0], { what: `a refusal; connected: ${client.socket.connected}`, timeoutMs: 8000 });
  }
});

describe("sessions by AUTH_URL", () => {
  test("the cookie says who it is; pages that are not listed do not act with it; the application away is 503", async () => {
    let status = 200;
    const application = await httpStub((request, response) => {
      const known = ["sid=good", "sid=also"].includes(request.headers.cookie ?? "");
      response
        .writeHead(known ? status : 401)
        .end(JSON.stringify({ sub: "alice", channels: ["chat"], publish: ["chat"] }));
    });
    const node = await startGuarded({
      JWT_SECRET: "",
      AUTH_URL: application.url,
      CORS_ORIGINS: "*,https://app.example",
    });
    onTestFinished(async () => void (await node.stop(2000)));
    const by = (headers: Record<string, string>, namespace = "/trips") =>
      outcome(
        keep(connectWith(node.url, namespace, {}, { extraHeaders: headers, reconnection: false, timeout: 2000 })),
      );

    expect(await by({ cookie: "sid=good" })).toBe("connected");
    expect(await by({ cookie: "sid=good", origin: "https://app.example" })).toBe("connected");
    expect(await by({ cookie: "sid=good", origin: "https://evil.example" })).toBe("UNAUTHENTICATED");
    expect(await by({ cookie: "sid=bad" })).toBe("UNAUTHENTICATED");
    const post = (headers: Record<string, string>) => api(node.url).post("/api/notifications/chat", 1, headers);
    expect((await post({ cookie: "sid=good" })).status).toBe(202);
    expect((await post({ cookie: "sid=good", origin: "https://evil.example" })).status).toBe(401);
    status = 500;
    expect((await post({ cookie: "sid=also" })).status).toBe(503);
    expect((await api(node.url).get("/api/channels/chat/publications", { cookie: "sid=good" })).status).toBe(200); // remembered
  });
});

describe("REST", () => {
  test.each([
    ["web-secret", { message: 202, other: 202, refresh: 202, users: 202, batch: 202, history: 403, metrics: 403 }],
    ["chat-secret", { message: 202, other: 403, refresh: 202, users: 403, batch: 202, history: 403, metrics: 403 }],
    ["ops-secret", { message: 403, other: 403, refresh: 403, users: 403, batch: 202, history: 200, metrics: 200 }],
    ["wrong-secret", { message: 401, other: 401, refresh: 401, users: 401, batch: 401, history: 401, metrics: 401 }],
  ])("the key %s may do what its rights say", async (secret, expected) => {
    const node = api(first().url, { authorization: `Bearer ${secret}` });
    const statuses = {
      message: (await node.post("/api/notifications/chat", 1)).status,
      other: (await node.post("/api/notifications/orders", 1)).status,
      refresh: (await node.post("/api/refresh/trips", { scope: "A" })).status,
      users: (await node.post("/api/refresh/users", { scope: "A" })).status,
      batch: (await node.post("/api/publications", { publications: [{ channel: "chat", payload: 1 }] })).status,
      history: (await node.get("/api/channels/chat/publications")).status,
      metrics: (await node.get("/metrics")).status,
    };

    expect(statuses).toEqual(expected);
  });

  test("an item of a batch without the right is refused in its place", async () => {
    const publications = [
      { channel: "chat", payload: 1 },
      { channel: "orders", payload: 1 },
      { channel: "trips", scope: "A" },
      { channel: "users", scope: "A" },
    ];
    const answer = await api(first().url).post(
      "/api/publications",
      { publications },
      { authorization: "Bearer chat-secret" },
    );

    expect(answer.body.results).toEqual([
      { id: expect.any(String) },
      { error: expect.objectContaining({ code: "FORBIDDEN" }) },
      { id: expect.any(String) },
      { error: expect.objectContaining({ code: "FORBIDDEN" }) },
    ]);
  });

  test("a user publishes messages where the token allows, in their own name, and nothing else", async () => {
    const as = api(first().url, { authorization: `Bearer ${await sign({ sub: "7", publish: ["chat"] })}` });
    const listener = keep(await connectAs(second().url, "/channels", { channels: ["chat"] }));
    await listener.ready;
    await listener.ask("subscribe", { channel: "chat" });

    expect((await as.post("/api/notifications/chat", { n: 1 })).status).toBe(202);
    expect((await as.post("/api/notifications/orders", 1)).status).toBe(403);
    expect((await as.post("/api/refresh/trips", { scope: "A" })).status).toBe(403);
    expect(
      (await as.post("/api/publications", { publications: [{ channel: "chat", payload: "forged" }] })).status,
    ).toBe(403);

    expect((await listener.next("notification")).args[0]).toMatchObject({ payload: { n: 1 }, from: "7" });
  });

  test.each([
    ["nowhere", {}, 403],
    ["somewhere", { publish: ["chat"] }, 400],
  ])("the body of a user who may publish %s is read only then", async (_where, claims, status) => {
    const answer = await fetch(`${first().url}/api/notifications/chat`, {
      method: "POST",
      headers: { authorization: `Bearer ${await sign({ sub: "7", ...claims })}`, "content-type": "application/json" },
      body: "{",
    });

    expect(answer.status).toBe(status);
  });

  test("tickets are for users", async () => {
    const user = { authorization: `Bearer ${await sign()}` };
    const answer = await api(first().url).post("/api/tickets", undefined, user);

    expect(answer).toMatchObject({
      status: 201,
      body: { ticket: expect.stringMatching(/^[\w-]{43}$/), expiresAt: expect.any(String) },
    });
    expect(Date.parse(answer.body.expiresAt) - Date.now()).toBeGreaterThan(20_000);
    expect(answer.headers.get("cache-control")).toBe("no-store");
    expect((await api(first().url).post("/api/tickets", undefined, SERVER)).status).toBe(403);
    expect((await api(first().url).post("/api/tickets")).status).toBe(401);
  });

  test.each(["/metrics", "/openapi.json", "/asyncapi.json", "/docs", "/docs/static/index.html", "/demo"])(
    "%s is for operators",
    async (path) => {
      const get = async (headers: Record<string, string> = {}) => (await api(first().url).get(path, headers)).status;

      expect([await get(), await get(SERVER), await get({ authorization: `Bearer ${await sign()}` })]).toEqual([
        401, 403, 403,
      ]);
      expect(await get(OPERATOR)).toBeLessThan(400);
    },
  );
});
