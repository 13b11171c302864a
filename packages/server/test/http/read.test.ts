import { MemoryPresence } from "@carillon/core";
import { CarillonError, type JsonText } from "@carillon/protocol";
import { expect, test } from "vitest";
import { buildMetricsHttp } from "../../src/http/app.ts";
import { createMeter } from "../../src/ops/metrics.ts";
import { callerWith, fixture } from "./fakes.ts";

const TEXT = '{"id":9007199254740993,"one":1.0}' as JsonText;

test("history gives payloads digit for digit, with scope, audience and time", async () => {
  const { app, history } = fixture();
  history.publications = [
    { id: "1-1", channel: "trips", scope: "A", payload: TEXT, to: { users: ["42"] }, timestampMs: 0 },
    {
      id: "1-2",
      channel: "trips",
      truncated: '{"bytes":70000}' as JsonText,
      from: 'a"b',
      timestampMs: 1_764_000_000_123,
    },
  ];

  const response = await app.inject("/api/channels/trips.refresh/publications?since=1-0&limit=2");

  expect(response.headers["content-type"]).toMatch(/^application\/json/);
  expect(response.body).toBe(
    `{"publications":[{"id":"1-1","channel":"trips","scope":"A","payload":${TEXT},"to":{"users":["42"]},"timestamp":"1970-01-01T00:00:00.000Z"},` +
      '{"id":"1-2","channel":"trips","truncated":{"bytes":70000},"from":"a\\"b","timestamp":"2025-11-24T16:00:00.123Z"}],"id":"1-9","gap":false}',
  );
  expect(history.asked).toMatchObject([
    { channel: "trips", since: "1-0", limit: 2, caller: { name: "anonymous", kind: "open" } },
  ]);
});

test("history starts at the oldest with 100 entries where nothing is asked", async () => {
  const { app, history } = fixture();

  await app.inject("/api/channels/chat/publications?since=");

  expect(history.asked).toMatchObject([{ since: undefined, limit: 100 }]);
});

test("an id that nobody issued is the history's to judge", async () => {
  const { app, history } = fixture();

  expect((await app.inject("/api/channels/chat/publications?since=nonsense")).statusCode).toBe(200);
  expect(history.asked).toMatchObject([{ since: "nonsense" }]);
});

test("whom else a publication was for is told to operators only, and history needs the right to subscribe", async () => {
  const caller = callerWith("subscribe:chat");
  const { app, history } = fixture({ auth: { caller: () => caller } });
  history.publications = [{ id: "1-1", channel: "chat", payload: TEXT, to: { users: ["42"] }, timestampMs: 0 }];

  expect((await app.inject("/api/channels/chat/publications")).body).not.toContain("42");
  expect((await app.inject("/api/channels/orders/publications")).statusCode).toBe(403);
});

test.each([
  "/metrics",
  "/openapi.json",
  "/asyncapi.json",
  "/docs",
  "/docs/",
  "/docs/json",
  "/docs/static/index.html",
  "/docs/static/swagger-ui.css",
  "/api/presence/42",
  "/api/push/attempts",
  "/api/nodes",
  "/api/channels",
  "/console",
  "/demo",
  "/demo/demo.js",
  "/demo/config",
])("%s is for operators", async (url) => {
  const { app } = fixture({ auth: { caller: () => callerWith("publish", "subscribe") } });

  const response = await app.inject(url);

  expect([response.statusCode, response.json().code]).toEqual([403, "FORBIDDEN"]);
});

test.each(["/healthz", "/readyz"])("%s is for anyone", async (url) => {
  const { app } = fixture({ auth: { caller: () => callerWith() } });

  expect((await app.inject(url)).statusCode).toBe(200);
});

test("readiness is 200 while ok or degraded and a problem with its checks while down", async () => {
  const { app, health } = fixture();
  let bus: "ok" | "down" = "ok";
  health.add("bus", "down", () => ({ status: bus, reason: "deaf for 3 s" }));
  health.add("postgres", "degraded", () => ({ status: "degraded", reason: "reconnecting" }));

  const degraded = await app.inject("/readyz");
  bus = "down";
  const down = await app.inject("/readyz");
  health.enter("draining");
  const draining = await app.inject("/readyz");

  expect(degraded.statusCode).toBe(200);
  expect(degraded.json()).toMatchObject({
    status: "degraded",
    checks: { bus: { status: "ok" }, postgres: { status: "degraded" } },
  });
  expect(down.statusCode).toBe(503);
  expect(down.headers["content-type"]).toMatch(/problem\+json/);
  expect(down.json()).toMatchObject({
    code: "NOT_READY",
    status: 503,
    detail: "bus: deaf for 3 s",
    checks: { bus: { status: "down" } },
  });
  expect(draining.json()).toMatchObject({ code: "DRAINING", checks: { node: { status: "down", reason: "draining" } } });
  expect((await app.inject("/healthz")).json()).toEqual({ status: "ok" });
});

test("metrics are Prometheus text, and absent where they have moved", async () => {
  const here = await fixture().app.inject("/metrics");
  expect(here.headers["content-type"]).toMatch(/^text\/plain; version=/);
  expect(here.body).toContain("carillon_draining");

  const { health, app } = fixture({ metrics: undefined as never });
  expect((await app.inject("/metrics")).statusCode).toBe(404);
  const meter = createMeter({ nodeMetrics: false });
  const logger = app.log;
  const moved = buildMetricsHttp({ logger, meter, health, metrics: meter });
  expect((await moved.inject("/metrics")).statusCode).toBe(200);
  expect((await moved.inject("/healthz")).json()).toMatchObject({ code: "NOT_FOUND" });
});

test("presence is answered for one user, and refused while the store is away", async () => {
  const presence = new MemoryPresence("a");
  await presence.put(new Map([["a/ü", [{ foreground: undefined, sinceMs: 0, installationId: "i" }]]]));
  const { app } = fixture({ presence });
  const away = fixture({ presence: { read: () => Promise.reject(new CarillonError("BUS_UNAVAILABLE")) } });

  expect((await app.inject("/api/presence/a%2F%C3%BC")).json()).toEqual({
    userId: "a/ü",
    online: true,
    foreground: false,
    clients: [{ node: "a", installationId: "i", foreground: null, since: "1970-01-01T00:00:00.000Z" }],
  });
  expect((await app.inject(`/api/presence/${"x".repeat(129)}`)).json()).toMatchObject({ code: "INVALID_ID" });
  expect((await away.app.inject("/api/presence/42")).json()).toMatchObject({ code: "BUS_UNAVAILABLE", status: 503 });
});

test.each([
  ["abc-1_2.3:4", true],
  ["a b", false],
  ["", false],
  ["x".repeat(129), false],
  ["a\u0001", false],
  ['"', false],
])("the request id %j is echoed: %s", async (given, echoed) => {
  const { app } = fixture();

  const response = await app.inject({ url: "/healthz", headers: { "x-request-id": given } });

  const id = response.headers["x-request-id"];
  if (echoed) expect(id).toBe(given);
  else expect(id).toMatch(/^[0-9a-f-]{36}$/);
});

test("the API description has every route with its real shapes", async () => {
  const { app } = fixture();

  const description = (await app.inject("/openapi.json")).json();

  expect(description.openapi).toBe("3.1.0");
  expect(Object.keys(description.paths).sort()).toEqual([
    "/api/channels",
    "/api/channels/{channel}/publications",
    "/api/devices/{installationId}",
    "/api/inbox",
    "/api/inbox/archive",
    "/api/inbox/counts",
    "/api/inbox/read",
    "/api/inbox/read-all",
    "/api/inbox/unread",
    "/api/nodes",
    "/api/notifications/{channel}",
    "/api/notify",
    "/api/presence/{userId}",
    "/api/publications",
    "/api/push/attempts",
    "/api/push/redrive",
    "/api/push/test",
    "/api/refresh/{namespace}",
    "/api/tickets",
    "/api/users/{userId}/connections",
    "/healthz",
    "/metrics",
    "/readyz",
  ]);
  const refresh = description.paths["/api/refresh/{namespace}"].post;
  const body = refresh.requestBody.content["application/json"].schema;
  expect(body.properties.scope.pattern).toBe("^[A-Za-z0-9_.:\\-]{1,128}$");
  expect(body.required).toEqual(["scope"]);
  expect(refresh.requestBody.content["application/json"].examples).toHaveProperty("approved");
  const items =
    description.paths["/api/publications"].post.requestBody.content["application/json"].schema.properties.publications
      .items;
  expect(items.required).toEqual(["channel"]);
  expect(Object.keys(description.components.schemas)).toEqual(["Problem"]);
  expect(body.properties.to.properties.users.items.type).toEqual(["string", "integer"]);
  expect(Object.keys(refresh.responses)).toEqual(
    expect.arrayContaining(["202", "400", "401", "403", "404", "413", "415", "422", "429", "501", "503"]),
  );
  expect(refresh.responses["422"].content["application/problem+json"].schema).toBeDefined();
});

test("the pages ask nothing of anybody else's server", async () => {
  const { app } = fixture({ demo: {} });

  for (const url of ["/docs/", "/docs/static/swagger-initializer.js", "/demo", "/demo/demo.css", "/demo/demo.js"]) {
    const response = await app.inject(url);
    expect(response.statusCode).toBe(200);
    expect(response.headers["content-security-policy"]).toMatch(/^default-src 'none'/);
    expect(response.body.replaceAll("http://www.w3.org/2000/svg", "")).not.toMatch(
      /(?:src|href|url)\s*[=(:]\s*["']?https?:\/\//,
    );
  }
  expect((await app.inject("/docs/static/swagger-initializer.js")).body).toContain('"validatorUrl":null');
});

test.each(["/api/inbox", "/api/inbox/counts", "/api/push/attempts", "/api/presence/42", "/api/nodes", "/api/channels"])(
  "%s is in no cache",
  async (url) => {
    const push = {
      inbox: {
        list: async () => ({ entries: [], cursor: null }),
        counts: async () => ({ unread: 0, total: 0, archived: 0 }),
      },
      attempts: { list: async () => ({ attempts: [], cursor: null }) },
    };
    const { app } = fixture({ push: push as never });

    const response = await app.inject({ url, headers: { "x-carillon-user": "42" } });

    expect([response.statusCode, response.headers["cache-control"]]).toEqual([200, "no-store"]);
  },
);
