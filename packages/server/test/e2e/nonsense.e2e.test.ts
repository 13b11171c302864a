/** 50 kinds of nonsense by every way in: each is counted, logged once a minute, harms nobody, and the next good one arrives. */
import {
  api,
  type LogLine,
  type PostgresServer,
  type RedisServer,
  startPostgres,
  startRedis,
  waitFor,
} from "@carillon/testkit";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { Raw } from "./kit.ts";
import { allHear, type Ear, openEars } from "./support/ear.ts";
import { openStage, post, type Stage, total } from "./support/stage.ts";

const NODES = 2;
let redis: RedisServer;
let postgres: PostgresServer;
let stage: Stage;
let ears: Ear[] = [];

beforeAll(async () => {
  [redis, postgres] = await Promise.all([startRedis(), startPostgres()]);
  stage = await openStage({ nodes: NODES, redis, postgres });
  ears = await openEars(stage.url, NODES, { channels: ["chat", "orders"] });
});
afterAll(async () => {
  for (const ear of ears) {
    expect(ear.disconnects).toEqual([]);
    ear.close();
  }
  await stage?.stop();
  await Promise.all([redis?.stop(), postgres?.stop()]);
});

const logs = (test: (line: LogLine) => boolean) => stage.nodes.flatMap((node) => node.logs.filter(test));
const LONG = "A".repeat(129);
const DEEP = `${"[".repeat(5000)}${"]".repeat(5000)}`;

/** What no refresh can be read from, whether Redis or Postgres carries it. */
const NO_REFRESH = [
  ...["null", "[]", "[1]", '["TRIP"]', '"', "{", "}", '{"scope":', "[[[[", "{}{}", "{'scope':'A'}", "undefined: 1"],
  ...[
    "two words",
    " \u00e9t\u00e9 ",
    "\u{1f514}",
    "a,b",
    "a/b",
    "<script>",
    "SELECT * FROM trips;",
    "\\x00\\xff",
    LONG,
    DEEP,
  ],
  ...['{"scope":5}', '{"scope":null}', '{"scope":true}', '{"scope":[]}', '{"scope":{"scope":"A"}}', '{"scope":"a b"}'],
  ...['{"scope":"\u00e9"}', `{"scope":"${LONG}"}`, '{"Scope":"A"}', '{"type":"OTHER"}', '{"type":5}', '{"payload":{}}'],
  ...[
    '{"scope":"A","to":"everybody"}',
    '{"scope":"A","to":[]}',
    '{"scope":"A","to":{"user":["a"]}}',
    '{"scope":"A","to":7}',
  ],
  ...['{"scope":"A","to":{"users":"a"}}', '{"scope":"A","to":{"users":[{}]}}', '{"scope":"A","to":{"users":[""]}}'],
  ...[
    '{"scope":"A","to":{"rooms":["a b"]}}',
    '{"scope":"A","to":{"except":{"roles":["a"]}}}',
    '{"to":{"users":["a"]}}',
  ],
  ...['{"pattern":"refresh.trips","data":[]}', '{"pattern":"refresh.trips","data":{"scope":5}}'],
  ...['{"pattern":"refresh.trips","data":"two words"}', '{"pattern":"refresh.trips","data":{"type":"OTHER"}}'],
  ...['{"pattern":{"cmd":"x"},"data":{"scope":"A","to":1}}', "x".repeat(100_000)],
];

/** What turns a domain event into nothing: all else on its channel is an event. */
const NO_EVENT = ['{"scope":"a b"}', '{"scope":5}', '{"scope":"A","to":"everybody"}', '{"to":{"users":[{}]}}'];

async function expectDropped(
  feed: "redis" | "notify",
  kinds: number,
  before: number,
  channels: string[],
): Promise<void> {
  const dropped = () => total(stage.nodes, "carillon_feed_dropped_total", { feed, reason: "not_understood" });
  await waitFor(async () => (await dropped()) >= before + kinds, { what: `${kinds} dropped from ${feed}` });
  expect((await dropped()) - before).toBe(kinds);
  const lines = logs(
    ({ msg, ingress }) =>
      msg === "a message was not understood and dropped" && ingress === (feed === "redis" ? "redis" : "postgres"),
  );
  expect(lines.map(({ channel }) => channel).sort()).toEqual([...channels].sort());
}

const dropped = (feed: string) => total(stage.nodes, "carillon_feed_dropped_total", { feed, reason: "not_understood" });

test("there are 50 kinds of no refresh", () => {
  expect(new Set(NO_REFRESH).size).toBeGreaterThanOrEqual(50);
});

test("on Redis channels", async () => {
  const before = await dropped("redis");
  const from = ears.map((ear) => ear.heard.length);

  for (const text of NO_REFRESH) await stage.publish("refresh.trips", text);
  for (const text of NO_REFRESH) await stage.publish("notifications.refresh", text);
  for (const text of NO_EVENT) await stage.publish("trip.status_changed", text);
  await stage.publish("refresh.trips", "GOOD.redis");
  await stage.publish("trip.status_changed", '{"scope":"GOOD.event"}');

  await allHear(ears, "everybody to hear the good ones", (ear) => ear.scopes("/notifications").includes("GOOD.event"));
  for (const [index, ear] of ears.entries()) {
    expect(ear.scopes("/trips", from[index])).toEqual(["GOOD.redis", "GOOD.event"]);
    expect(ear.heard.slice(from[index])).toHaveLength(3);
  }
  const channels = ["refresh.trips", "notifications.refresh", "trip.status_changed"];
  await expectDropped("redis", 2 * NO_REFRESH.length + NO_EVENT.length, before, channels);
});

test("bytes that are no text on Redis channels", async () => {
  const before = await dropped("redis");
  const client = redis.client();

  await client.publish("trips.refresh", Buffer.from([0xff, 0xfe, 0x00, 0x80]));
  await client.publish("trips.refresh", Buffer.from('{"scope":"A\xff"}', "latin1"));
  await client.publish("trips.refresh", "GOOD.bytes");

  client.disconnect();
  await allHear(ears, "everybody to hear the good one", (ear) => ear.scopes("/trips").includes("GOOD.bytes"));
  expect((await dropped("redis")) - before).toBe(2);
});

test("on the product's own channels in Redis, where nobody else should publish", async () => {
  const client = redis.client();
  const own = new URL(stage.databaseUrl).pathname.slice(1); // REDIS_PREFIX
  const before = await total(stage.nodes, "carillon_drops_total");
  const garbage = [
    "",
    "x",
    "C",
    "C1-1",
    "C9-9 1\nnot a record",
    "H",
    "Hx y z",
    "{}",
    "\u0000\u0001",
    "H9999-1 1 nobody 0",
    DEEP,
  ];

  for (const channel of [`${own}#/#`, `${own}#/trips#`, `${own}:mark`, `${own}:interest`, `${own}#/#x#`]) {
    for (const text of garbage) await client.publish(channel, text);
  }
  client.disconnect();

  expect(await total(stage.nodes, "carillon_drops_total")).toBeGreaterThan(before);
  await post(stage.url, "/api/refresh/trips", { scope: "GOOD.own" });
  await stage.publish("refresh.trips", "GOOD.own.redis");
  await allHear(ears, "everybody to hear the good ones", (ear) => {
    const scopes = ear.scopes("/trips");
    return scopes.includes("GOOD.own") && scopes.includes("GOOD.own.redis");
  });
});

test("by NOTIFY, and by a trigger's pg_notify", async () => {
  const before = await dropped("notify");
  const from = ears.map((ear) => ear.heard.length);
  const notifiable = NO_REFRESH.filter((text) => Buffer.byteLength(text) < 8000);

  for (const text of notifiable) await stage.sql.query("select pg_notify('refresh.trips', $1)", [text]);
  for (const text of notifiable) await stage.sql.query("select carillon_notify.pg_notify('trips.refresh', $1)", [text]);
  await stage.sql.query(`select pg_notify('orders', '{"scope":"A","to":"everybody"}')`);
  await stage.sql.query("select pg_notify('refresh.trips', 'GOOD.notify')");
  await stage.sql.query("select carillon_notify.pg_notify('trips.refresh', 'GOOD.trigger')");
  await stage.sql.query("select pg_notify('orders', 'any text is a message')");

  await allHear(ears, "everybody to hear the good ones", (ear) => {
    const scopes = ear.scopes("/trips");
    return scopes.includes("GOOD.notify") && scopes.includes("GOOD.trigger") && ear.payloads("orders").length > 0;
  });
  for (const [index, ear] of ears.entries()) expect(ear.heard.slice(from[index])).toHaveLength(3);
  await expectDropped("notify", 2 * notifiable.length + 1, before, ["refresh.trips", "trips.refresh", "orders"]);
});

test("into the outbox: what can't be a channel or a user", async () => {
  const reasons = { outbox_channel: 6, capture_failed: 2 };
  await stage.sql.query(`
    create table seats (id int, owner text);
    select carillon.watch('seats', 'chat', to_user => 'owner')`);

  for (const name of ["", "two words", ".a", "\u00e9", "a".repeat(64), "a/b"])
    await stage.sql.query("select carillon_notify.pg_notify($1, 'x')", [name]);
  await stage.sql.query("insert into seats values (1, ''), (2, repeat('x', 129))");
  await stage.sql.query(`select carillon.publish('chat', '"GOOD.outbox"')`);

  await allHear(ears, "everybody to hear the good one", (ear) => ear.payloads("chat").includes("GOOD.outbox"));
  for (const [reason, times] of Object.entries(reasons)) {
    expect(await total(stage.nodes, "carillon_drops_total", { reason }), reason).toBe(times);
    expect(
      logs((line) => line.reason === reason),
      reason,
    ).toHaveLength(1);
  }
});

test.each([
  ["carillon.publish", "select carillon.publish($1, '1')", ["", "two words", ".a", "a".repeat(64), null]],
  ["carillon.refresh", "select carillon.refresh('trips', $1)", ["", "two words", LONG, null]],
  [
    "carillon.refresh with to_",
    "select carillon.refresh('trips', 'A', $1::jsonb)",
    ['"all"', "[]", '{"user":[]}', '{"users":[{}]}'],
  ],
  ["carillon.watch", "select carillon.watch('orders', $1)", ["", "two words", ".a"]],
])("%s refuses it at once, in the caller's transaction", async (_name, sql, values) => {
  for (const value of values) await expect(stage.sql.query(sql, [value])).rejects.toThrow(/^carillon: /);
});

describe("by REST", () => {
  const type = { "content-type": "application/json" };
  const key = (value: string) => ({ ...type, "idempotency-key": value });
  const batch = (item: string) => `{"publications":[${item}]}`;
  /** The path after /api, body, headers, and the status and code that answer it. */
  const KINDS: [
    path: string,
    body: string | Uint8Array | undefined,
    status: number,
    code: string,
    headers?: Record<string, string>,
  ][] = [
    ...["{", "[", '"', "nul", "01", "{'a':1}", "[1,]", "\ufeff\ufeff1"].map((body): (typeof KINDS)[0] => [
      "/notifications/chat",
      body,
      400,
      "INVALID_JSON",
    ]),
    ["/notifications/chat", "", 400, "INVALID_JSON"],
    ["/notifications/chat", Buffer.from([0x22, 0xff, 0x22]), 400, "INVALID_JSON"],
    ["/notifications/chat", DEEP, 422, "INVALID_REQUEST"],
    ["/notifications/chat", `"${"x".repeat(65_535)}"`, 413, "PAYLOAD_TOO_LARGE"],
    ["/notifications/chat", `"${"x".repeat(1_000_000)}"`, 413, "PAYLOAD_TOO_LARGE"],
    ["/notifications/chat", "1", 415, "UNSUPPORTED_MEDIA_TYPE", { "content-type": "text/plain" }],
    [
      "/notifications/chat",
      "a=1",
      415,
      "UNSUPPORTED_MEDIA_TYPE",
      { "content-type": "application/x-www-form-urlencoded" },
    ],
    ["/notifications/chat", "1", 415, "UNSUPPORTED_MEDIA_TYPE", { "content-type": "application/json; charset=latin1" }],
    ["/notifications/chat", "1", 415, "UNSUPPORTED_MEDIA_TYPE", { ...type, "content-encoding": "gzip" }],
    ["/notifications/chat", "1", 422, "INVALID_REQUEST", key("")],
    ["/notifications/chat", "1", 422, "INVALID_REQUEST", key("two words")],
    ["/notifications/chat", "1", 422, "INVALID_REQUEST", key("k".repeat(256))],
    ["/notifications/chat", "1", 422, "INVALID_ID", { ...type, "x-carillon-user": "" }],
    ["/notifications/chat", "1", 403, "FORBIDDEN", { ...type, origin: "https://evil.example" }],
    ...[".a", "a%20b", "%00", "%C3%A9", "a".repeat(64), "a%2Fb"].map((name): (typeof KINDS)[0] => [
      `/notifications/${name}`,
      "1",
      422,
      "INVALID_CHANNEL",
    ]),
    ["/refresh/nowhere", '{"scope":"A"}', 404, "UNKNOWN_NAMESPACE"],
    ["/refresh/chat", '{"scope":"A"}', 404, "UNKNOWN_NAMESPACE"],
    ...[
      "null",
      "[]",
      '"A"',
      "{}",
      '{"Scope":"A"}',
      '{"scope":"A","x":1}',
      '{"scope":5}',
      '{"scope":"A","to":null}',
    ].map((body): (typeof KINDS)[0] => ["/refresh/trips", body, 422, "INVALID_REQUEST"]),
    ...['{"scope":""}', '{"scope":"a b"}', `{"scope":"${LONG}"}`].map((body): (typeof KINDS)[0] => [
      "/refresh/trips",
      body,
      422,
      "INVALID_SCOPE",
    ]),
    ["/refresh/trips", '{"scope":"A","to":{"users":[{}]}}', 422, "INVALID_ID"],
    ["/refresh/trips", '{"scope":"A","to":{"rooms":["a b"]}}', 422, "INVALID_ROOM"],
    ["/refresh/trips", '{"scope":"A","to":{"user":["1"]}}', 422, "INVALID_REQUEST"],
    ["/refresh/trips", '{"scope":"A","push":true}', 422, "INVALID_REQUEST"],
    ...["[]", "{}", '{"publications":{}}', '{"publications":[]}', batch(`${"1,".repeat(1000)}1`)].map(
      (body): (typeof KINDS)[0] => ["/publications", body, 422, "INVALID_REQUEST"],
    ),
  ];

  test("each is answered with its problem, counted, and logged once a code", async () => {
    expect(KINDS.length).toBeGreaterThanOrEqual(50);
    const node = stage.nodes[0]!;
    const refused = () => node.metric("carillon_publications_refused_total", { ingress: "rest" });
    const before = await refused();

    for (let round = 0; round < 2; round++) {
      for (const [path, body, status, code, headers = type] of KINDS) {
        const answer = await api(node.url).raw("POST", `/api${path}`, body, headers);
        const what = `${path} ${String(body).slice(0, 60)} ${JSON.stringify(headers)}`;
        expect([answer.status, answer.body?.code], what).toEqual([status, code]);
        expect(answer.headers.get("content-type"), what).toMatch(/^application\/problem\+json/);
      }
    }

    expect((await refused()) - before).toBe(2 * KINDS.length);
    const codes = [...new Set(KINDS.map(([, , , code]) => code))].sort();
    const lines = node.logs.filter(({ msg }) => msg === "publication refused");
    expect(lines.map(({ code }) => code).sort()).toEqual(codes);
  });

  test("one bad item in a batch is answered in its place, and the others are published", async () => {
    const items = [
      '{"channel":"chat","payload":"GOOD.batch.1"}',
      "1",
      '{"channel":"a b","payload":1}',
      '{"channel":"chat"}',
    ];
    items.push('{"channel":"trips","scope":"a b"}', '{"channel":"chat","payload":"GOOD.batch.2"}');

    const { status, body } = await api(stage.url).raw("POST", "/api/publications", batch(items.join()), type);

    expect(status).toBe(202);
    const verdicts = body.results.map(
      (result: { id?: string; error?: { code: string } }) => result.error?.code ?? "published",
    );
    expect(verdicts).toEqual([
      "published",
      "INVALID_REQUEST",
      "INVALID_CHANNEL",
      "INVALID_REQUEST",
      "INVALID_SCOPE",
      "published",
    ]);
    await allHear(ears, "everybody to hear the good ones", (ear) => ear.payloads("chat").at(-1) === "GOOD.batch.2");
    for (const ear of ears) expect(ear.payloads("chat").slice(-2)).toEqual(["GOOD.batch.1", "GOOD.batch.2"]);
  });
});

describe("by clients", () => {
  const circular = Buffer.from("binary");
  let deep: unknown = 1;
  for (let depth = 0; depth < 200; depth++) deep = [deep];
  const names = ["", "two words", ".a", "\u00e9", "a".repeat(64), 1.5, null, {}, []];
  /** Namespace, event, arguments. */
  const KINDS: [namespace: string, event: string, ...args: unknown[]][] = [
    ...["nonsense", "REFRESH", "message", "error", "__proto__"].map((event): (typeof KINDS)[0] => [
      "/channels",
      event,
      {},
    ]),
    ["/trips", "subscribe", { channel: "chat" }],
    ["/trips", "publish", { channel: "trips", payload: 1 }],
    ...[[], [null], ["chat"], [5], [[]], [{}, {}], [circular]].map((args): (typeof KINDS)[0] => [
      "/channels",
      "subscribe",
      ...args,
    ]),
    ...names.map((channel): (typeof KINDS)[0] => ["/channels", "subscribe", { channel }]),
    ...names.slice(0, 5).map((channel): (typeof KINDS)[0] => ["/channels", "unsubscribe", { channel }]),
    ...names.slice(0, 5).map((channel): (typeof KINDS)[0] => ["/channels", "publish", { channel, payload: 1 }]),
    ...["user:someone", "role:admin", "tenant:acme", "", "two words", "a".repeat(129), 1.5, null, {}].map(
      (room): (typeof KINDS)[0] => ["/trips", "join", { room }],
    ),
    ["/channels", "join", { room: "a" }],
    ["/channels", "join", { channel: "chat" }],
    ["/channels", "publish", { channel: "chat" }],
    ["/channels", "publish", { channel: "chat", payload: deep }],
    ["/channels", "publish", { channel: "chat", payload: circular }],
    ["/channels", "publish", { channel: "chat", payload: "x".repeat(70_000) }],
    ["/trips", "state", { foreground: "yes" }],
    ["/trips", "state", 1],
    ["/trips", "seen", { ids: "all" }],
    ["/trips", "seen", { ids: [1] }],
    ["/trips", "auth:refresh", {}],
    ["/trips", "auth:refresh", { token: 5 }],
  ];

  test("each is refused in its ack, counted, and logged once a code", async () => {
    expect(KINDS.length).toBeGreaterThanOrEqual(50);
    const ear = ears[1]!;
    const codes: string[] = [];
    const drops = () => total(stage.nodes, "carillon_drops_total");
    const before = await drops();

    for (const [namespace, event, ...args] of KINDS) {
      const ack = await ear
        .socket(namespace)
        .timeout(10_000)
        .emitWithAck(event, ...args);
      expect(ack, `${event} ${JSON.stringify(args).slice(0, 80)}`).toEqual({
        ok: false,
        error: { code: expect.stringMatching(/^[A-Z_]+$/), message: expect.any(String) },
      });
      codes.push(ack.error.code);
    }

    expect((await drops()) - before).toBe(KINDS.length);
    for (const reason of new Set(codes)) {
      const times = codes.filter((code) => code === reason).length;
      expect(await total(stage.nodes, "carillon_drops_total", { reason }), reason).toBeGreaterThanOrEqual(times);
    }
    const lines = logs(({ msg }) => msg === "a client's request was refused");
    expect(lines.map(({ code }) => code).sort()).toEqual([...new Set(codes)].sort());
    expect(codes).not.toContain("INTERNAL");
    await ear.ask("/channels", "publish", { channel: "chat", payload: "GOOD.client" });
    await allHear(ears, "everybody to hear the good one", (one) => one.payloads("chat").includes("GOOD.client"));
  });

  test("frames that are none close their own connection at most", async () => {
    const { url } = stage.nodes[0]!;
    const frames = [
      "",
      "x",
      "9",
      "4",
      "49",
      "42",
      "42{",
      "42[",
      "42[]",
      "42[1]",
      '42["a"',
      '42["publish",{"channel":"chat"',
      "43[]",
      "43999[1]",
    ];
    frames.push(
      "40/nowhere,",
      "40/trips,[",
      "41/nowhere,",
      "44{}",
      "451-[]",
      '451-["a",{"_placeholder":true,"num":9}]',
      "2probe",
      "5",
      "6",
      "0{}",
      "1",
    );
    frames.push(`42${DEEP}`, "4".repeat(10_000), '42/trips,["join"]', "\u0000", `42/${"x".repeat(1000)}`);

    for (const frame of [...frames, Buffer.from([1, 2, 3])]) {
      const raw = await Raw.open(url);
      raw.send("40/channels,{}");
      raw.send(frame);
      raw.close();
    }

    await post(stage.url, "/api/notifications/chat", "GOOD.frames");
    await allHear(ears, "everybody to hear the good one", (ear) => ear.payloads("chat").includes("GOOD.frames"));
    expect(logs(({ level, msg }) => (level === "error" || level === 50) && msg !== undefined)).toEqual([]);
  });
});
