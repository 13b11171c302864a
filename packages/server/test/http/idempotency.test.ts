import { CarillonError } from "@carillon/protocol";
import { expect, test } from "vitest";
import { callerWith, type Fixture, fixture } from "./fakes.ts";

function poster({ app }: Fixture, headers: Record<string, string>) {
  return (url: string, payload: string, more: Record<string, string> = {}) =>
    app.inject({ method: "POST", url, headers: { "content-type": "application/json", ...headers, ...more }, payload });
}

test("the same key and body give the same answer and one publication, at once or later", async () => {
  const f = fixture();
  const post = poster(f, { "idempotency-key": "k1" });

  const answers = await Promise.all(Array.from({ length: 5 }, () => post("/api/notifications/chat", '{"a":1,"b":2}')));
  answers.push(await post("/api/notifications/chat", ' { "b" : 2, "a" : 1 } '));

  expect(new Set(answers.map((answer) => answer.body)).size).toBe(1);
  expect(f.publisher.drafts).toHaveLength(1);
});

test.each([
  ["/api/notifications/chat", "1", "/api/notifications/chat", "2"],
  ["/api/notifications/chat", "9007199254740993", "/api/notifications/chat", "9007199254740992"],
  ["/api/notifications/chat", "1", "/api/notifications/orders", "1"],
  ["/api/refresh/trips", '{"scope":"A"}', "/api/refresh/trips", '{"scope":"B"}'],
  ["/api/refresh/trips", '{"scope":"A"}', "/api/refresh/users", '{"scope":"A"}'],
  ["/api/refresh/trips", '{"scope":"A","to":{"users":["1"]}}', "/api/refresh/trips", '{"scope":"A"}'],
])("%s %s and then %s %s under one key is IDEMPOTENCY_KEY_REUSED", async (url, body, otherUrl, otherBody) => {
  const f = fixture();
  const post = poster(f, { "idempotency-key": "k" });
  await post(url, body);

  const other = await post(otherUrl, otherBody);

  expect([other.statusCode, other.json().code]).toEqual([422, "IDEMPOTENCY_KEY_REUSED"]);
  expect(f.publisher.drafts).toHaveLength(1);
});

test("keys are per caller and per route, and without one the same text is published twice", async () => {
  const f = fixture();
  const post = poster(f, {});
  const key = { "idempotency-key": "k" };

  await post("/api/notifications/trips", '{"scope":"A"}', { ...key, "x-carillon-user": "ann" });
  await post("/api/notifications/trips", '{"scope":"A"}', { ...key, "x-carillon-user": "bob" });
  await post("/api/refresh/trips", '{"scope":"A"}', { ...key, "x-carillon-user": "ann" });
  await post("/api/notifications/trips", '{"scope":"A"}');
  await post("/api/notifications/trips", '{"scope":"A"}');

  expect(f.publisher.drafts).toHaveLength(5);
});

test("a key of 255 visible characters is taken", async () => {
  const post = poster(fixture(), { "idempotency-key": "~".repeat(255) });

  expect((await post("/api/notifications/chat", "1")).statusCode).toBe(202);
});

test("a batch answers in order, each wrong item with its error in its place", async () => {
  const f = fixture();
  const items = [
    '{"channel":"orders","payload":{"id":9007199254740993}}',
    '{"channel":"a b","payload":1}',
    '{"channel":"trips.refresh","scope":"A","to":{"users":[7]}}',
    '{"channel":"chat"}',
    '{"channel":"chat","payload":null}',
    "17",
    '{"channel":"chat","scope":""}',
    `{"channel":"chat","payload":"${"x".repeat(70_000)}"}`,
    '{"channel":"chat","scope":"A","payload":1.0}',
    '{"channel":"chat","payload":1,"push":{"title":"t","body":"b"}}',
    '{"channel":"chat","payload":1,"to":{"users":["1"]},"push":{"title":"t","body":"b"}}',
    '{"channel":9007199254740993,"payload":1}',
  ];

  const response = await poster(f, {})("/api/publications", `{"publications":[${items.join(",")}]}`);

  expect(response.statusCode).toBe(202);
  const results = response.json().results as { id?: string; error?: { code: string } }[];
  expect(results.map((result) => result.id ?? result.error?.code)).toEqual([
    "1-1",
    "INVALID_CHANNEL",
    "1-2",
    "INVALID_REQUEST",
    "1-3",
    "INVALID_REQUEST",
    "INVALID_SCOPE",
    "PAYLOAD_TOO_LARGE",
    "1-4",
    "INVALID_REQUEST",
    "NOT_CONFIGURED",
    "1-5",
  ]);
  expect(f.publisher.drafts).toEqual([
    { channel: "orders", payload: '{"id":9007199254740993}' },
    { channel: "trips", scope: "A", to: { users: ["7"] } },
    { channel: "chat", payload: "null" },
    { channel: "chat", scope: "A", payload: "1.0" },
    { channel: "9007199254740993", payload: "1" },
  ]);
});

test("a batch of nothing but wrong items publishes nothing and says why", async () => {
  const f = fixture();

  const response = await poster(f, { "idempotency-key": "k" })(
    "/api/publications",
    '{"publications":[1,{"channel":"."}]}',
  );

  expect(response.json().results.map((result: { error: { code: string } }) => result.error.code)).toEqual([
    "INVALID_REQUEST",
    "INVALID_CHANNEL",
  ]);
});

test("1,000 items pass in one call", async () => {
  const f = fixture();
  const item = '{"channel":"chat","payload":1}';

  const response = await poster(f, {})("/api/publications", `{"publications":[${Array(1000).fill(item).join(",")}]}`);

  expect(response.json().results).toHaveLength(1000);
});

test("a batch repeated under its key gives the same answer, publishing what a lost call left out", async () => {
  const f = fixture();
  const post = poster(f, { "idempotency-key": "k" });
  const body =
    '{"publications":[{"channel":"a","payload":1},{"channel":"b b","payload":2},{"channel":"c","payload":3}]}';

  const first = await post("/api/publications", body);
  // As if the node had died between the two steps.
  f.publisher.tokens.delete([...f.publisher.tokens.keys()][1] ?? "");
  const second = await post("/api/publications", body);

  expect(second.json().results[0]).toEqual(first.json().results[0]);
  expect(f.publisher.drafts.map((draft) => "channel" in draft && draft.channel)).toEqual(["a", "c", "c"]);
  expect((await post("/api/publications", body)).body).toBe(second.body);
});

test.each([
  ["longer", '{"publications":[{"channel":"a","payload":1},{"channel":"b","payload":2},{"channel":"c","payload":3}]}'],
  ["shorter", '{"publications":[{"channel":"a","payload":1}]}'],
  ["reordered", '{"publications":[{"channel":"b","payload":2},{"channel":"a","payload":1}]}'],
  [
    "with a wrong first item",
    '{"publications":[{"channel":"a"},{"channel":"x","payload":1},{"channel":"y","payload":2}]}',
  ],
])("a %s body under a used key is refused as a whole and publishes nothing", async (_what, body) => {
  const f = fixture();
  const post = poster(f, { "idempotency-key": "k" });
  await post("/api/publications", '{"publications":[{"channel":"a","payload":1},{"channel":"b","payload":2}]}');

  const response = await post("/api/publications", body);

  expect([response.statusCode, response.json().code]).toEqual([422, "IDEMPOTENCY_KEY_REUSED"]);
  expect(f.publisher.drafts).toHaveLength(2);
});

test("a batch while the bus is away is 503 as a whole", async () => {
  const f = fixture();
  f.publisher.failure = new CarillonError("BUS_UNAVAILABLE");

  const response = await poster(f, {})("/api/publications", '{"publications":[{"channel":"a","payload":1}]}');

  expect([response.statusCode, response.headers["retry-after"]]).toEqual([503, "1"]);
});

test("a batch item without the right to its channel is FORBIDDEN in its place", async () => {
  const caller = callerWith("publish:a");
  const f = fixture({ auth: { caller: () => caller } });

  const response = await poster(f, {})(
    "/api/publications",
    '{"publications":[{"channel":"a","payload":1},{"channel":"a","scope":"A"},{"channel":"b","payload":1}]}',
  );

  const results = response.json().results as { id?: string; error?: { code: string } }[];
  expect(results.map((result) => result.id ?? result.error?.code)).toEqual(["1-1", "FORBIDDEN", "FORBIDDEN"]);
});
