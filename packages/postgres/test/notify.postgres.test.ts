import type pg from "pg";
import { beforeEach, expect, test } from "vitest";
import { connectTo, migratedDatabase, migratedDatabaseIn, outbox } from "./support.ts";

let client: pg.Client;

beforeEach(async () => {
  client = await connectTo(await migratedDatabase());
});

const entries = async () => (await client.query("select * from carillon.inbox_entry order by user_id, id")).rows;

test("a notification is there with its entries, its refresh and its time for a push, or not at all", async () => {
  await client.query("begin; select carillon.notify(array['1'], 'SYSTEM_ALERT', 'T', 'B'); rollback");
  expect(await entries()).toEqual([]);
  expect(await outbox(client)).toEqual([]);

  const { rows } = await client.query(
    `select carillon.notify(array['1', '2', '1'], 'SYSTEM_ALERT', 'Title', 'Body', '{"a":1}') as id`,
  );

  const id = rows[0]?.id;
  expect(await entries()).toMatchObject(
    ["1", "2"].map((user_id) => ({
      event_id: id,
      user_id,
      title: "Title",
      body: "Body",
      data: { a: 1 },
      read_at: null,
    })),
  );
  const due = await client.query(
    "select bool_and(push_due_at - created_at between '1.9 s' and '2.1 s') as soon from carillon.inbox_entry",
  );
  expect(due.rows).toEqual([{ soon: true }]);
  const [row, ...others] = await outbox(client);
  expect(row).toMatchObject({
    channel: "notifications",
    scope: "SYSTEM_ALERT",
    payload: JSON.stringify({ eventId: id }).replace(":", ": "),
  });
  expect(JSON.parse(row?.audience ?? "")).toEqual({ users: ["1", "2"] });
  expect(others).toEqual([]);
});

test("NOTIFY_ROUTES leads to further namespaces", async () => {
  const routes = [
    { pattern: "TRIP_*|VEHICLE_*", namespaces: ["trips"] },
    { pattern: "T*", namespaces: ["trips", "fleet"] },
  ];
  await client.query("insert into carillon.setting values ('NOTIFY_ROUTES', $1)", [JSON.stringify(routes)]);

  for (const type of ["TRIP_APPROVED", "VEHICLE_ASSIGNED", "TRIPxAPPROVED", "USER_APPROVED"])
    await client.query("select carillon.notify(array['1'], $1, 'T', '')", [type]);

  const channels = (await outbox(client)).map(({ scope, channel }) => `${scope} ${channel}`).toSorted();
  expect(channels).toEqual([
    "TRIP_APPROVED fleet",
    "TRIP_APPROVED notifications",
    "TRIP_APPROVED trips",
    "TRIPxAPPROVED fleet",
    "TRIPxAPPROVED notifications",
    "TRIPxAPPROVED trips",
    "USER_APPROVED notifications",
    "VEHICLE_ASSIGNED notifications",
    "VEHICLE_ASSIGNED trips",
  ]);
});

test("everybody is who has a device or an entry, and their refresh needs no list", async () => {
  await client.query("select carillon.notify('{1,2}', 'A', 'T', ''), carillon.notify(array[3], 'A', 'T', '')");
  await client.query(
    "insert into carillon.device (installation_id, user_id, platform) values ('i', '4', 'web'), ('j', '1', 'web')",
  );

  await client.query("select carillon.notify('*', 'ALL_HANDS', 'T', '')");

  const users = (await entries()).filter(({ type }) => type === "ALL_HANDS").map(({ user_id }) => user_id);
  expect(users.toSorted()).toEqual(["1", "2", "3", "4"]);
  expect((await outbox(client)).at(-1)).toMatchObject({ scope: "ALL_HANDS", audience: null });
});

test("a user who is called * is a user", async () => {
  await client.query("select carillon.notify(array['1'], 'A', 'T', ''), carillon.notify(array['*'], 'B', 'T', '')");

  expect((await entries()).filter(({ type }) => type === "B")).toMatchObject([{ user_id: "*" }]);
});

test("long lists of recipients are cut into several publications", async () => {
  await client.query("select carillon.notify(array(select generate_series(1, 2500))::text[], 'A', 'T', '')");

  const lists = (await outbox(client)).map(({ audience }) => JSON.parse(audience ?? "").users as string[]);
  expect(lists.map((users) => users.length).toSorted((a, b) => a - b)).toEqual([500, 1000, 1000]);
  expect(new Set(lists.flat()).size).toBe(2500);
});

test.each([
  ["null::text[]", "'A'", "'T'", "'B'", "'{}'"],
  ["array[]::text[]", "'A'", "'T'", "'B'", "'{}'"],
  ["array[null]::text[]", "'A'", "'T'", "'B'", "'{}'"],
  ["array['']", "'A'", "'T'", "'B'", "'{}'"],
  ["array(select generate_series(1, 10001))::text[]", "'A'", "'T'", "'B'", "'{}'"],
  ["array['1']", "null", "'T'", "'B'", "'{}'"],
  ["array['1']", "'A B'", "'T'", "'B'", "'{}'"],
  ["array['1']", "'A'", "''", "'B'", "'{}'"],
  ["array['1']", "'A'", "null", "'B'", "'{}'"],
  ["array['1']", "'A'", "repeat('T', 257)", "'B'", "'{}'"],
  ["array['1']", "'A'", "'T'", "repeat('B', 2049)", "'{}'"],
  ["array['1']", "'A'", "'T'", "'B'", "'[]'"],
  ["array['1']", "'A'", "'T'", "'B'", '\'{"from":"x"}\''],
  ["array['1']", "'A'", "'T'", "'B'", '\'{"google.x":"x"}\''],
  ["array['1']", "'A'", "'T'", "'B'", "jsonb_build_object('x', repeat('x', 2041))"],
])("notify(%s, %s, %s, %s, %s) raises", async (...args) => {
  await expect(client.query(`select carillon.notify(${args.join(", ")})`)).rejects.toThrow("carillon: ");

  expect(await entries()).toEqual([]);
});

test.each([
  "carillon.notify('kim', 'T', 'a', E'b\\x81')",
  "carillon.notify('kim', 'T', E'a\\x81', 'b')",
  "carillon.notify(E'kim\\x81', 'T', 'a', 'b')",
])("in a database without an encoding, %s is refused: it could not be read back", async (call) => {
  client = await connectTo(await migratedDatabaseIn("SQL_ASCII"));
  await client.query("set client_encoding = sql_ascii");

  await expect(client.query(`select ${call}`)).rejects.toThrow(/invalid byte sequence/);
  await client.query("select carillon.notify('kim', 'T', 'é', 'ü', '{\"a\": \"ö\"}')");

  expect(await entries()).toMatchObject([{ title: "é", body: "ü", data: { a: "ö" } }]);
});

test("what is just within the limits is stored", async () => {
  await client.query(
    "select carillon.notify(array['1'], 'A', repeat('T', 256), repeat('B', 2048), jsonb_build_object('x', repeat('x', 2040)))",
  );

  expect(await entries()).toHaveLength(1);
});
