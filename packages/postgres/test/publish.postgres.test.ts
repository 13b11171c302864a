import type pg from "pg";
import { beforeEach, describe, expect, test } from "vitest";
import { connectTo, migratedDatabase, outbox } from "./support.ts";

let client: pg.Client;

beforeEach(async () => {
  client = await connectTo(await migratedDatabase());
});

test("what is published in a transaction is there when it commits and not when it rolls back", async () => {
  await client.query(
    "begin; select carillon.publish('chat', '{\"a\": 1}'); select carillon.refresh('trips', 'ALL'); rollback",
  );
  expect(await outbox(client)).toEqual([]);

  await client.query(
    "begin; select carillon.publish('chat', '{\"a\": 1}'); select carillon.refresh('/trips', 'TRIP_APPROVED'); commit",
  );

  expect(await outbox(client)).toMatchObject([
    { channel: "chat", payload: '{"a": 1}', scope: null },
    { channel: "trips", payload: null, scope: "TRIP_APPROVED" },
  ]);
});

test.each(["", " ", ".a", "-a", ":a", "a b", 'o"k', "é", "a".repeat(64), 'x"; drop table canary; --'])(
  "%j is no channel name, and the caller is told",
  async (name) => {
    await expect(client.query("select carillon.publish($1, '1')", [name])).rejects.toThrow("is not a channel name");
    await expect(client.query("select carillon.refresh($1, 'ALL')", [name])).rejects.toThrow("is not a channel name");
  },
);

test.each(["a", "A.b:c-d_9", "9", "_", "a".repeat(63), "refresh.trips"])("%j is a channel name", async (name) => {
  await client.query("select carillon.publish($1, null)", [name]);

  expect(await outbox(client)).toMatchObject([{ channel: name, payload: "null" }]);
});

test("recipients are checked, and numbers among them become text", async () => {
  const to = { users: [42, "auth0|5f"], roles: ["admin"], except: { rooms: ["trip:1"], sockets: ["abc"] } };

  await client.query("select carillon.publish('chat', '1', $1)", [to]);

  const [row] = await outbox(client);
  expect(JSON.parse(row?.audience ?? "")).toEqual({ ...to, users: ["42", "auth0|5f"] });
});

test.each([
  "[]",
  '"users"',
  '{"users":"x"}',
  '{"user":["x"]}',
  '{"users":[""]}',
  '{"users":[null]}',
  '{"users":["a\\u0001"]}',
  '{"users":[1.5]}',
  '{"rooms":["a b"]}',
  '{"except":{"roles":["x"]}}',
  '{"except":[]}',
])("%s is no audience: nothing is published to everybody instead", async (to) => {
  await expect(client.query("select carillon.publish('chat', '1', $1::jsonb)", [to])).rejects.toThrow();
  await expect(client.query("select carillon.refresh('trips', 'ALL', $1::jsonb)", [to])).rejects.toThrow();

  expect(await outbox(client)).toEqual([]);
});

test.each([null, "", "a b", "é", "a".repeat(129)])("%j is no scope", async (scope) => {
  await expect(client.query("select carillon.refresh('trips', $1)", [scope])).rejects.toThrow("is not a scope");
});

test("a payload above the limit goes out as what is missing, measured without Postgres's spaces", async () => {
  const fits = { a: Array(32_760).fill(1), b: "x".repeat(2) }; // 65,536 bytes compact
  expect(JSON.stringify(fits)).toHaveLength(65_536);

  await client.query("select carillon.publish('chat', $1)", [JSON.stringify(fits)]);
  await client.query("select carillon.publish('chat', $1)", [JSON.stringify({ ...fits, b: "xxx" })]);
  await client.query("select carillon.publish('chat', $1)", [JSON.stringify("😀".repeat(100_000))]);

  expect(await outbox(client)).toMatchObject([
    { payload: JSON.stringify(fits), truncated: null },
    { payload: null, truncated: '{"bytes":65537}' },
    { payload: null, truncated: '{"bytes":400002}' },
  ]);
});

describe("pg_notify as a drop-in", () => {
  test("keeps text of any size and never fails the transaction", async () => {
    const texts = [7_998, 7_999, 8_000, 8_001, 65_536, 65_537, 100_000].map((bytes) => "x".repeat(bytes));
    await client.query("begin; set local search_path = carillon_notify, pg_catalog");

    for (const text of [...texts, "😀\"'\\\u0001", null]) await client.query("select pg_notify('chat', $1)", [text]);
    await client.query("select pg_notify('not a channel', 'x'), pg_notify(null, 'x'), pg_notify($1, 'x')", [
      "y".repeat(200),
    ]);
    await client.query("commit");

    const rows = await outbox(client);
    expect(rows.slice(0, 9).map(({ raw, truncated }) => raw?.length ?? truncated)).toEqual([
      ...[7_998, 7_999, 8_000, 8_001, 65_536, '{"bytes":65537}', '{"bytes":100000}', 6, 0],
    ]);
    expect(rows.slice(9).map(({ channel }) => channel)).toEqual(["not a channel", "", "y".repeat(200)]);
  });

  test("a trigger function becomes durable by its search_path alone", async () => {
    await client.query(`
      create table t (id int);
      create function f() returns trigger language plpgsql as $$
      begin perform pg_notify('chat', json_build_object('id', new.id)::text); return new; end $$;
      create trigger tr after insert on t for each row execute function f();
      alter function f() set search_path = carillon_notify, pg_catalog, public`);

    await client.query("insert into t values (1)");

    expect(await outbox(client)).toMatchObject([{ channel: "chat", raw: '{"id" : 1}' }]);
  });
});

test("at most one transaction at a time carries a hint", async () => {
  const other = await connectTo(`postgres://postgres@${client.host}:${client.port}/${client.database}`);
  const hints: string[] = [];
  other.on("notification", ({ channel }) => hints.push(channel));
  await other.query("listen carillon_hint");
  const second = await connectTo(`postgres://postgres@${client.host}:${client.port}/${client.database}`);
  await client.query("begin; select carillon.publish('chat', '1')");
  await second.query("select carillon.publish('chat', '2')");
  await other.query("select 1");
  expect(hints).toEqual([]);

  await client.query("commit");
  await other.query("select 1");

  expect(hints).toEqual(["carillon_hint"]);
});
