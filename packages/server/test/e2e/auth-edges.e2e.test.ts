/** Origins, secrets in places where they do not belong, and keys like `__proto__`. */
import { api, type NodeServer, startRedis } from "@carillon/testkit";
import { afterEach, describe, expect, onTestFinished, test } from "vitest";
import { WebSocket } from "ws";
import { sign } from "../auth/kit.ts";
import { Raw } from "./kit.ts";
import { connectAs, connectWith, OPERATOR, outcome, SERVER, startGuarded } from "./support/guarded.ts";

const opened: { close(): void }[] = [];
afterEach(() => {
  for (const client of opened.splice(0)) client.close();
});
function keep<T extends { close(): void }>(client: T): T {
  opened.push(client);
  return client;
}
async function start(env: Record<string, string>): Promise<NodeServer> {
  const node = await startGuarded({ DRAIN_TIMEOUT_S: "2", ...env });
  onTestFinished(async () => void (await node.stop(3000)));
  return node;
}

/** The status of a WebSocket handshake: 101 where it was let in. */
function upgrade(port: number, headers: Record<string, string>): Promise<number> {
  const socket = keep(new WebSocket(`ws://127.0.0.1:${port}/socket.io/?EIO=4&transport=websocket`, { headers }));
  return new Promise((resolve, reject) => {
    socket.on("open", () => resolve(101));
    socket.on("unexpected-response", (_request, response) => resolve(response.statusCode ?? 0));
    socket.on("error", reject);
  });
}
async function poll(port: number, headers: Record<string, string>): Promise<[status: number, allowed: string | null]> {
  const answer = await api(`http://127.0.0.1:${port}`).get("/socket.io/?EIO=4&transport=polling", headers);
  return [answer.status, answer.headers.get("access-control-allow-origin")];
}

describe("origins", () => {
  const LISTED = [
    "https://app.example.com",
    "http://localhost:5173",
    "capacitor://localhost",
    "ionic://localhost",
    "file://",
    "null",
  ];

  test("pages and web views that are listed connect by both transports, others by neither", async () => {
    const { port } = await start({ CORS_ORIGINS: LISTED.join(",") });

    for (const origin of LISTED) {
      expect([origin, await upgrade(port, { origin })]).toEqual([origin, 101]);
      expect([origin, ...(await poll(port, { origin }))]).toEqual([origin, 200, origin]);
    }
    for (const origin of [
      "https://evil.example",
      "https://app.example.com.evil.example",
      "http://app.example.com",
      "https://app.example.com:8443",
      "capacitor://evil",
      "http://localhost",
      "x",
      "",
    ]) {
      expect([origin, await upgrade(port, { origin })]).toEqual([origin, 403]);
      expect([origin, (await poll(port, { origin }))[0]]).toEqual([origin, 403]);
    }
    expect(await upgrade(port, {})).toBe(101);
  });

  test("with nothing listed a page of the same origin connects, whatever its scheme behind a proxy", async () => {
    const { port } = await start({});

    expect(await upgrade(port, { origin: `http://127.0.0.1:${port}` })).toBe(101);
    expect(await upgrade(port, { origin: "https://app.example.com", host: "app.example.com" })).toBe(101);
    for (const origin of ["http://127.0.0.1:1", "https://app.example.com", "null", "file://", "capacitor://localhost"])
      expect([origin, await upgrade(port, { origin })]).toEqual([origin, 403]);
    const post = await api(`http://127.0.0.1:${port}`).post("/api/notifications/chat", 1, {
      ...SERVER,
      origin: "https://evil.example",
    });
    expect(post).toMatchObject({ status: 403, body: { code: "FORBIDDEN" } });
  });

  test("with WS_PORT the node's own page may connect there, and read what polling answers", async () => {
    const node = await start({ WS_PORT: "0" });
    const wsPort = Number(node.logs.find(({ msg }) => msg === "listening")?.wsPort);
    const page = `http://127.0.0.1:${node.port}`;

    expect(await upgrade(wsPort, { origin: page })).toBe(101);
    expect(await poll(wsPort, { origin: page })).toEqual([200, page]);
    const preflight = await api(`http://127.0.0.1:${wsPort}`).raw(
      "OPTIONS",
      "/socket.io/?EIO=4&transport=polling",
      undefined,
      { origin: page, "access-control-request-method": "POST", "access-control-request-headers": "authorization" },
    );
    expect([preflight.status, preflight.headers.get("access-control-allow-origin")]).toEqual([204, page]);
    expect(await upgrade(wsPort, { origin: `http://127.0.0.1:${node.port + 1}` })).toBe(403);
    expect(await upgrade(wsPort, { origin: `http://evil.example:${node.port}` })).toBe(403);
  });

  test("* lets every page in, without cookies", async () => {
    const { port } = await start({ CORS_ORIGINS: "*" });

    expect(await upgrade(port, { origin: "https://anybody.example" })).toBe(101);
    const answer = await api(`http://127.0.0.1:${port}`).get("/socket.io/?EIO=4&transport=polling", {
      origin: "https://anybody.example",
    });
    expect([
      answer.status,
      answer.headers.get("access-control-allow-origin"),
      answer.headers.get("access-control-allow-credentials"),
    ]).toEqual([200, "*", null]);
  });
});

test("no token, key or cookie gets into a log line, a metric, an answer or Redis, whatever goes wrong", async () => {
  const MARK = "LEAKME123";
  const redis = await startRedis();
  onTestFinished(() => redis.stop());
  const node = await start({
    REDIS_URL: redis.url,
    LOG_LEVEL: "trace",
    API_KEYS: `ops:ops-secret:operate,web:${MARK}key`,
    JWT_SECRET: `${MARK}-secret-that-is-long-enough-x`,
  });
  const good = await sign(
    { sub: "42", jti: MARK, publish: ["chat"] },
    { key: new TextEncoder().encode(`${MARK}-secret-that-is-long-enough-x`) },
  );
  const bad = [`${MARK}.${MARK}.${MARK}`, MARK, await sign({ iss: MARK, jti: MARK })];
  const answers: string[] = [];
  const rest = api(node.url);

  for (const token of [good, ...bad]) {
    for (const options of [{}, { transports: ["polling"] }])
      await outcome(keep(connectWith(node.url, "/users", { token }, options)));
    await outcome(keep(connectWith(node.url, "/nowhere", { token }, { timeout: 300, reconnection: false })));
    const trips = keep(connectWith(node.url, "/trips", { token: good }));
    await trips.ready;
    answers.push(
      JSON.stringify(await trips.ask("auth:refresh", { token })),
      JSON.stringify(await trips.ask("auth:refresh", { token: [token] })),
    );
    for (const headers of [
      { authorization: `Bearer ${token}` },
      { authorization: `Basic ${token}` },
      { cookie: `session=${token}` },
      { "idempotency-key": token, authorization: `Bearer ${good}` },
    ]) {
      for (const [method, path] of [
        ["POST", "/api/notifications/chat"],
        ["GET", "/api/channels/chat/publications"],
        ["POST", "/api/tickets"],
        ["GET", `/events?ticket=${token}`],
        ["GET", `/nowhere?token=${token}`],
        ["DELETE", `/api/users/x/connections?token=${token}`],
      ] as const) {
        answers.push(
          (
            await rest.raw(method, path, method === "POST" && path !== "/api/tickets" ? "1" : undefined, {
              "content-type": "application/json",
              ...headers,
            })
          ).text,
        );
      }
    }
    keep(new Raw(node.url, `/socket.io/?EIO=4&transport=websocket&token=${token}`));
    answers.push((await rest.get(`/socket.io/?EIO=3&transport=polling&token=${token}&sid=${token}`)).text);
  }
  await rest.post("/api/notifications/chat", 1, { authorization: `Bearer ${MARK}key` });
  const ticket = (await rest.post("/api/tickets", undefined, { authorization: `Bearer ${good}` })).body
    .ticket as string;
  const raw = redis.client();
  onTestFinished(() => raw.disconnect());
  const keys = await raw.keys("*");
  const values = await Promise.all(keys.map(async (key) => `${key} ${(await raw.get(key).catch(() => "")) ?? ""}`));
  const stream = JSON.stringify(await raw.xrange("{carillon}:log", "-", "+"));

  expect(keys.length).toBeGreaterThan(5);
  const places = {
    log: node.output,
    metrics: (await rest.get("/metrics", OPERATOR)).text,
    answers: answers.join("\n"),
    redis: values.join("\n") + stream,
  };
  for (const [place, text] of Object.entries(places)) {
    expect([place, text.length > 0]).toEqual([place, true]);
    for (const secret of [MARK, good.split(".")[1]!, good.split(".")[2]!, ticket, "ops-secret"])
      expect([place, text.split("\n").find((line) => line.includes(secret))]).toEqual([place, undefined]);
  }
  expect(node.output).toContain('"level":"debug"');
});

test("keys like __proto__ are data everywhere and change nothing", async () => {
  const node = await start({});
  const evil = '{"__proto__":{"polluted":true,"roles":["ops"]},"constructor":{"prototype":{"polluted":true}}}';
  const listener = keep(await connectAs(node.url, "/channels", { channels: ["*"], publish: ["*"] }));
  await listener.ready;
  await listener.ask("subscribe", { channel: "chat" });
  const headers = { ...SERVER, "content-type": "application/json" };

  expect((await api(node.url).raw("POST", "/api/notifications/chat", evil, headers)).status).toBe(202);
  const message = await listener.next("notification");
  expect(JSON.stringify(message.args[0].payload)).toBe(evil);
  for (const channel of ["__proto__", "constructor", "toString"]) {
    expect((await api(node.url).raw("POST", `/api/notifications/${channel}`, "1", headers)).status).toBe(202);
    expect(await listener.ask("subscribe", { channel })).toMatchObject({ ok: true });
    expect(await listener.ask("join", { channel, room: channel })).toMatchObject({ ok: true === "rooms" in {} });
  }
  const raw = keep(await Raw.open(node.url));
  raw.send(`40/trips,{"token":${JSON.stringify(await sign({}))},"__proto__":{"user":"43"},"constructor":1}`);
  await raw.next('42/trips,["ready"');
  for (const event of ["__proto__", "constructor", "toString", "hasOwnProperty"]) {
    raw.send(`42/trips,7${JSON.stringify([event, {}])}`);
    expect(await raw.next("43/trips,7")).toContain("UNKNOWN_EVENT");
  }
  expect((await api(node.url).get("/metrics", { authorization: `Bearer ${await sign()}` })).status).toBe(403);
  expect((await api(node.url).get("/healthz")).text).toBe('{"status":"ok"}');
});
