/** Whatever a row is as text, its writer's transaction commits, and clients get it whole or are told what was left out. */
import { api, type PostgresServer, type RedisServer, startPostgres, startRedis } from "@carillon/testkit";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { allHear, type Ear, openEar } from "./support/ear.ts";
import { openStage, post, type Stage } from "./support/stage.ts";

const MAX = 65_536;
let redis: RedisServer;
let postgres: PostgresServer;
let stage: Stage;
let ears: Ear[] = [];

beforeAll(async () => {
  [redis, postgres] = await Promise.all([startRedis(), startPostgres()]);
  stage = await openStage({ nodes: 2, redis, postgres });
  await stage.sql.query(`
    create table notes (id bigint generated always as identity primary key, body text);
    select carillon.watch('notes', 'notes')`);
  const channels = ["notes", "orders", "chat", "said"];
  ears = await Promise.all([
    openEar(stage.url, { name: "polling", transport: "polling", query: { node: "0" }, channels }),
    openEar(stage.url, { name: "websocket", transport: "websocket", query: { node: "1" }, channels }),
  ]);
});
afterAll(async () => {
  for (const ear of ears) ear.close();
  await stage?.stop();
  await Promise.all([redis?.stop(), postgres?.stop()]);
});

/** The next messages of a channel, the same at every client. */
// biome-ignore lint/suspicious/noExplicitAny: a test says what it expects
async function heardOn(channel: string, publish: () => Promise<unknown>): Promise<any> {
  const on = (ear: Ear) =>
    ear.heard
      .filter(({ argument }) => argument.channel === channel)
      .map(({ event, argument, id }) => ({ event, argument, id }));
  const from = ears.map((ear) => on(ear).length);
  await publish();
  await allHear(ears, `everybody to hear one on ${channel}`, (ear) => on(ear).length > from[ears.indexOf(ear)]!);
  const [first, ...others] = ears.map((ear, index) => on(ear).slice(from[index]));
  for (const other of others) expect(other).toEqual(first);
  expect(first).toHaveLength(1);
  return first![0]!.argument;
}

describe.each([7999, 8000, MAX, MAX + 1, 100_000])("a payload of %i bytes", (bytes) => {
  test("through the example trigger", async () => {
    // The function prints it with spaces, and that is what counts; all but the customer has one length here.
    const at = "2026-11-25T12:00:00.123456+00:00";
    const { rows } = await stage.sql.query(
      `select octet_length(json_build_object('op', 'INSERT', 'id', $1::text, 'customer', '', 'status', 'created', 'total', '0.00',
         'updated_at', $2::timestamptz)::text) as bytes`,
      [`${bytes}`, at],
    );
    const customer = "x".repeat(bytes - rows[0].bytes);

    const heard = await heardOn("orders", () =>
      stage.sql.query("insert into orders (id, customer, updated_at) overriding system value values ($1, $2, $3)", [
        bytes,
        customer,
        at,
      ]),
    );

    const order = { op: "INSERT", id: `${bytes}`, customer, status: "created", total: "0.00", updated_at: at };
    if (bytes <= MAX) expect(heard.payload).toEqual({ ...order, updated_at: expect.any(String) });
    else expectTruncated(heard, { bytes });
  });

  test("of a watched table", async () => {
    const { rows } = await stage.sql.query("select nextval('notes_id_seq') as id");
    const id = String(Number(rows[0].id) + 1);
    const payload = (body: string) => ({ op: "INSERT", schema: "public", table: "notes", key: id, row: { id, body } });
    const body = "x".repeat(bytes - JSON.stringify(payload("")).length);

    const heard = await heardOn("notes", () => stage.sql.query("insert into notes (body) values ($1)", [body]));

    expect(JSON.stringify(payload(body))).toHaveLength(bytes);
    if (bytes <= MAX) expect(heard.payload).toEqual(payload(body));
    else expectTruncated(heard, { table: "notes", key: id });
  });

  test("by carillon.publish", async () => {
    const said = "x".repeat(bytes - 2);

    const heard = await heardOn("said", () =>
      stage.sql.query("select carillon.publish('said', to_jsonb($1::text))", [said]),
    );

    if (bytes <= MAX) expect(heard.payload).toBe(said);
    else expectTruncated(heard, { bytes });
  });

  test("by REST", async () => {
    const said = "x".repeat(bytes - 2);
    const publish = () => api(stage.url).post("/api/notifications/said", said);

    if (bytes <= MAX)
      expect((await heardOn("said", () => post(stage.url, "/api/notifications/said", said))).payload).toBe(said);
    else expect(await publish()).toMatchObject({ status: 413, body: { code: "PAYLOAD_TOO_LARGE" } });
  });
});

function expectTruncated(heard: { truncated?: unknown }, truncated: object): void {
  expect(heard).not.toHaveProperty("payload");
  expect(heard.truncated).toEqual(truncated);
}

const CONTROLS = Array.from({ length: 31 }, (_, n) => String.fromCharCode(n + 1)).join("");
const TEXTS = {
  "four-byte characters": "\u{1f514}\u{10ffff}\u{20000}".repeat(1000),
  "quotes and backslashes": `'"\`\\"\\\\"',:{}[]//$$ $1 %s `.repeat(500),
  "control characters": `${CONTROLS}\u007f\u0080\u009f`.repeat(50),
  "line separators, marks and joiners": "\u2028\u2029\ufeff\u200d\u0301e\u0301\u202e".repeat(200),
  nothing: "",
  "what looks like JSON": '{"a": "b, c: d", "e": [1, 2 , 3]}',
  "what looks like a frame": '42/channels,["notification",{}]\u001e4',
};

describe.each(Object.entries(TEXTS))("text of %s", (_name, text) => {
  test("arrives letter for letter, whichever way it is written", async () => {
    const { sql } = stage;
    const viaTrigger = await heardOn("chat", () =>
      sql.query("insert into chat_messages (author, body) values ($1, $2)", ["somebody", text]),
    );
    const watched = await heardOn("notes", () => sql.query("insert into notes (body) values ($1)", [text]));
    const updated = await heardOn("notes", () =>
      sql.query("update notes set body = body || '!' where id = (select max(id) from notes)"),
    );
    const said = await heardOn("said", () => sql.query("select carillon.publish('said', to_jsonb($1::text))", [text]));
    const posted = await heardOn("said", () => post(stage.url, "/api/notifications/said", text));

    expect(viaTrigger.payload.body).toBe(text);
    expect(watched.payload.row.body).toBe(text);
    expect([updated.payload.old.body, updated.payload.row.body]).toEqual([text, `${text}!`]);
    expect(said.payload).toBe(text);
    expect(posted.payload).toBe(text);
  });
});
