import { CarillonError } from "@carillon/protocol";
import { expect, test } from "vitest";
import { callerWith, fixture } from "./fakes.ts";

const json = { "content-type": "application/json" };

test("a message's payload keeps every digit it was sent with", async () => {
  const { app, publisher } = fixture();
  const payload =
    '{"id":9007199254740993,"min":-9223372036854775808,"big":1e400,"one":1.0,"zero":-0,"n":0.1000000000000000055}';

  const response = await app.inject({ method: "POST", url: "/api/notifications/orders", headers: json, payload });

  expect(response.statusCode).toBe(202);
  expect(response.json()).toEqual({ id: "1-1", channel: "orders" });
  expect(publisher.drafts).toEqual([{ channel: "orders", payload }]);
});

test.each([
  "null",
  "false",
  "0",
  '""',
  "[]",
  '"\\ud800"',
  '{"__proto__":{"polluted":true}}',
  '{"constructor":1,"constructor":2}',
])("the payload %s is a payload", async (payload) => {
  const { app, publisher } = fixture();

  const response = await app.inject({ method: "POST", url: "/api/notifications/chat", headers: json, payload });

  expect(response.statusCode).toBe(202);
  expect(publisher.drafts).toHaveLength(1);
  expect(({} as { polluted?: unknown }).polluted).toBeUndefined();
});

test("a refresh carries scope, audience and payload, numbers as ids in their digits", async () => {
  const { app, publisher } = fixture();
  const payload =
    '{"scope":"TRIP_APPROVED","to":{"users":[42,9007199254740993],"except":{"sockets":["x"]}},"payload":{"n":1.0}}';

  const response = await app.inject({ method: "POST", url: "/api/refresh/trips", headers: json, payload });

  expect(response.json()).toEqual({ id: "1-1", channel: "trips" });
  expect(publisher.drafts).toEqual([
    {
      channel: "trips",
      scope: "TRIP_APPROVED",
      to: { users: ["42", "9007199254740993"], except: { sockets: ["x"] } },
      payload: '{"n":1.0}',
    },
  ]);
});

test.each(["refresh.trips", "trips.refresh", "trips"])("the spelling %s is the channel trips", async (spelling) => {
  const { app, publisher } = fixture();

  const message = await app.inject({
    method: "POST",
    url: `/api/notifications/${spelling}`,
    headers: json,
    payload: "1",
  });
  const refresh = await app.inject({
    method: "POST",
    url: `/api/refresh/${spelling}`,
    headers: json,
    payload: '{"scope":"A"}',
  });

  expect(message.json()).toMatchObject({ channel: "trips" });
  expect(refresh.json()).toMatchObject({ channel: "trips" });
  expect(publisher.drafts).toEqual([
    { channel: "trips", payload: "1" },
    { channel: "trips", scope: "A" },
  ]);
});

test("a refresh of an unknown namespace is 404 UNKNOWN_NAMESPACE", async () => {
  const { app } = fixture();

  const response = await app.inject({
    method: "POST",
    url: "/api/refresh/orders",
    headers: json,
    payload: '{"scope":"A"}',
  });

  expect(response.statusCode).toBe(404);
  expect(response.json()).toMatchObject({ code: "UNKNOWN_NAMESPACE" });
});

test.each([
  ['{"scope":"A","push":{"title":"t","body":"b"}}', 422, "INVALID_REQUEST"],
  ['{"scope":"A","to":{"users":["1"],"roles":["r"]},"push":{"title":"t","body":"b"}}', 422, "INVALID_REQUEST"],
  ['{"scope":"A","to":{"users":["1"],"except":{}},"push":{"title":"t","body":"b"}}', 422, "INVALID_REQUEST"],
  ['{"scope":"A","to":{"users":["1"]},"push":{"title":"t","body":"b"}}', 501, "NOT_CONFIGURED"],
])("push in %s is %d %s", async (payload, status, code) => {
  const { app, publisher } = fixture();

  const response = await app.inject({ method: "POST", url: "/api/refresh/trips", headers: json, payload });

  expect([response.statusCode, response.json().code]).toEqual([status, code]);
  expect(publisher.drafts).toEqual([]);
});

test("a payload of exactly the limit passes and one byte more is 413", async () => {
  const { app } = fixture({ settings: { maxPayloadBytes: 1024 } });
  const of = (bytes: number) => JSON.stringify("x".repeat(bytes - 2));
  const post = (payload: string) =>
    app.inject({ method: "POST", url: "/api/notifications/chat", headers: json, payload });

  expect((await post(of(1024))).statusCode).toBe(202);
  const over = await post(of(1025));

  expect(over.statusCode).toBe(413);
  expect(over.json()).toMatchObject({ code: "PAYLOAD_TOO_LARGE", detail: expect.stringContaining("1025") });
});

test("a pretty-printed payload is measured without its whitespace", async () => {
  const { app, publisher } = fixture({ settings: { maxPayloadBytes: 1024 } });
  const value = Array.from({ length: 300 }, (_, i) => i % 10);

  const response = await app.inject({
    method: "POST",
    url: "/api/notifications/chat",
    headers: json,
    payload: JSON.stringify(value, null, 4),
  });

  expect(response.statusCode).toBe(202);
  expect(publisher.drafts[0]).toEqual({ channel: "chat", payload: JSON.stringify(value) });
});

test("the bus away is 503 with Retry-After", async () => {
  const { app, publisher } = fixture();
  publisher.failure = new CarillonError("BUS_UNAVAILABLE", undefined, { retryAfterS: 2.5 });

  const response = await app.inject({ method: "POST", url: "/api/notifications/chat", headers: json, payload: "1" });

  expect(response.statusCode).toBe(503);
  expect(response.headers["retry-after"]).toBe("3");
  expect(response.json()).toMatchObject({ code: "BUS_UNAVAILABLE", status: 503 });
});

test("an unexpected error is 500 without a word of what it was, and is logged with the request id", async () => {
  const { app, publisher, lines } = fixture();
  publisher.failure = new Error("connect ECONNREFUSED redis://admin:hunter2@10.0.0.7");

  const response = await app.inject({
    method: "POST",
    url: "/api/notifications/chat",
    headers: { ...json, "x-request-id": "req-7" },
    payload: "1",
  });

  expect(response.statusCode).toBe(500);
  expect(response.body).not.toMatch(/ECONNREFUSED|hunter2|10\.0\.0\.7/);
  expect(response.json()).toMatchObject({ code: "INTERNAL", requestId: "req-7" });
  const line = lines.find((entry) => entry.level === "error");
  expect(line).toMatchObject({ requestId: "req-7", err: { message: expect.stringContaining("ECONNREFUSED") } });
  expect(JSON.stringify(lines)).not.toContain("hunter2");
});

test.each([
  ["/api/notifications/chat", "1"],
  ["/api/refresh/trips", '{"scope":"A"}'],
  ["/api/publications", '{"publications":[{"channel":"a","payload":1}]}'],
])("without rest in INGRESS %s is 403 INGRESS_DISABLED", async (url, payload) => {
  const { app, publisher } = fixture({ settings: { ingress: new Set(["redis"] as const) } });

  const response = await app.inject({ method: "POST", url, headers: json, payload });

  expect([response.statusCode, response.json().code]).toEqual([403, "INGRESS_DISABLED"]);
  expect(publisher.drafts).toEqual([]);
});

test("every publishing route asks for the right on the channel it would publish to", async () => {
  const caller = callerWith("publish:chat", "refresh:trips");
  const { app, publisher } = fixture({ auth: { caller: () => caller } });
  const post = async (url: string, payload: string) =>
    (await app.inject({ method: "POST", url, headers: json, payload })).statusCode;

  expect(await post("/api/notifications/chat", "1")).toBe(202);
  expect(await post("/api/notifications/orders", "1")).toBe(403);
  expect(await post("/api/refresh/trips", '{"scope":"A"}')).toBe(202);
  expect(await post("/api/refresh/users", '{"scope":"A"}')).toBe(403);
  // A scope needs the right to refresh even where the right to publish is there.
  expect(await post("/api/publications", '{"publications":[{"channel":"chat","scope":"A"}]}')).toBe(202);

  expect(publisher.drafts).toHaveLength(2);
});

test("who isn't believed is refused before the body is read", async () => {
  const refuse = () => {
    throw new CarillonError("UNAUTHENTICATED");
  };
  const { app } = fixture({ auth: { caller: refuse } });

  const response = await app.inject({
    method: "POST",
    url: "/api/notifications/chat",
    headers: { "content-type": "text/plain" },
    payload: "{",
  });

  expect(response.statusCode).toBe(401);
  expect(response.headers["www-authenticate"]).toBe("Bearer");
});

test.each(["ann", "anonymous"])(
  "under AUTH=off the message of X-Carillon-User %s says who it is from",
  async (name) => {
    const { app, publisher } = fixture();
    const post = (headers: Record<string, string>) =>
      app.inject({ method: "POST", url: "/api/notifications/chat", headers: { ...json, ...headers }, payload: "1" });

    await post({ "x-carillon-user": name });
    await post({});

    expect(publisher.drafts).toEqual([
      { channel: "chat", payload: "1", from: name },
      { channel: "chat", payload: "1" },
    ]);
  },
);

test.each([
  ["publish", "/api/notifications/chat"],
  ["refresh", "/api/refresh/trips"],
])("who may %s nowhere is refused before the body is read", async (_action, url) => {
  const { app } = fixture({ auth: { caller: () => callerWith("subscribe") } });

  const response = await app.inject({ method: "POST", url, headers: { "content-type": "text/plain" }, payload: "{" });

  expect([response.statusCode, response.json().code]).toEqual([403, "FORBIDDEN"]);
});

test.each([["a\u0001b"], ["x".repeat(129)]])("the user name %j under AUTH=off is refused", async (name) => {
  const { app } = fixture();

  const response = await app.inject({
    method: "POST",
    url: "/api/notifications/chat",
    headers: { ...json, "x-carillon-user": name },
    payload: "1",
  });

  expect([response.statusCode, response.json().code]).toEqual([422, "INVALID_ID"]);
});
