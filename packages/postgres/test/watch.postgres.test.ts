import type pg from "pg";
import { beforeEach, describe, expect, test } from "vitest";
import { connectTo, migratedDatabase, outbox } from "./support.ts";

let client: pg.Client;

beforeEach(async () => {
  client = await connectTo(await migratedDatabase());
});

async function payloads(): Promise<unknown[]> {
  return (await outbox(client)).map(({ payload, truncated }) => JSON.parse(payload ?? `{"truncated":${truncated}}`));
}

const things = { schema: "public", table: "things" };

describe("a watched table", () => {
  beforeEach(async () => {
    await client.query("create table things (id int primary key, name text, n int)");
    await client.query("select carillon.watch('things', 'things')");
  });

  test("publishes what each statement did to each row", async () => {
    await client.query("insert into things values (1, 'a', 1), (2, 'b', 2)");
    await client.query("update things set n = n + 1 where id = 1");
    await client.query("update things set n = n");
    await client.query("delete from things where id = 2");
    await client.query("truncate things");
    await client.query("delete from things");

    expect(await payloads()).toEqual([
      { op: "INSERT", ...things, key: "1", row: { id: 1, name: "a", n: 1 } },
      { op: "INSERT", ...things, key: "2", row: { id: 2, name: "b", n: 2 } },
      { op: "UPDATE", ...things, key: "1", row: { id: 1, name: "a", n: 2 }, old: { id: 1, name: "a", n: 1 } },
      { op: "DELETE", ...things, key: "2", old: { id: 2, name: "b", n: 2 } },
      { op: "TRUNCATE", ...things, key: null },
    ]);
  });

  test("publishes only the rows that an update of many changed, in order", async () => {
    await client.query("insert into things select g, 'x', g % 3 from generate_series(1, 300) g");
    await client.query("truncate carillon.outbox");

    await client.query("update things set n = 0");

    const changed = (await payloads()) as { key: string; old: { n: number } }[];
    expect(changed).toHaveLength(200);
    expect(changed.every(({ key, old }) => Number(key) % 3 === old.n)).toBe(true);
  });

  test("an upsert publishes its inserts and its updates", async () => {
    await client.query("insert into things values (1, 'a', 1)");

    await client.query(
      "insert into things values (1, 'b', 1), (2, 'c', 1) on conflict (id) do update set name = excluded.name",
    );

    expect((await payloads()).slice(1)).toMatchObject([
      { op: "UPDATE", key: "1", row: { name: "b" } },
      { op: "INSERT", key: "2" },
    ]);
  });

  test("a statement on too many rows is one publication with their number", async () => {
    await client.query("insert into things select g, 'x', g from generate_series(1, 1000) g");
    expect(await payloads()).toHaveLength(1000);
    await client.query("truncate carillon.outbox");

    await client.query("insert into things select g, 'x', g from generate_series(1001, 2001) g");
    await client.query("update things set n = 0");
    await client.query("delete from things");

    expect(await payloads()).toEqual([
      { op: "INSERT", table: "things", rows: 1001 },
      { op: "UPDATE", table: "things", rows: 2001 },
      { op: "DELETE", table: "things", rows: 2001 },
    ]);
  });

  test("COPY is a statement like any other", async () => {
    // Without a stream to copy from, a program is the shortest way to rows that come in by COPY.
    await client.query("copy things from program $$printf '1\\ta\\t1\\n2\\tb\\t2\\n'$$");

    expect(await payloads()).toMatchObject([
      { op: "INSERT", key: "1" },
      { op: "INSERT", key: "2", row: { name: "b" } },
    ]);
  });

  test("rows of any size commit; above the limit their key goes out", async () => {
    const frame = JSON.stringify({ op: "INSERT", ...things, key: "10", row: { id: 10, name: "", n: null } }).length;
    const sizes = [7_998, 7_999, 8_000, 8_001, 65_536, 65_537, 100_000];

    for (const [index, size] of sizes.entries()) {
      await client.query("insert into things (id, name) values ($1, $2)", [10 + index, "x".repeat(size - frame)]);
    }
    await client.query("update things set name = name || 'y' where id = 16");

    const rows = await outbox(client);
    expect(rows.map(({ payload, truncated }) => payload?.length ?? truncated)).toEqual([
      ...[7_998, 7_999, 8_000, 8_001, 65_536, '{"table":"things","key":"15"}', '{"table":"things","key":"16"}'],
      '{"table":"things","key":"16"}',
    ]);
  });

  test("a change far behind the limit is one, among rows of all sizes; writing a large row as it was is none", async () => {
    await client.query(
      "insert into things values (1, repeat('x', 90000) || 'a', 1), (2, 'b', 1), (3, repeat('é', 40000), 1)",
    );
    await client.query("update things set name = name where id = 1");
    await client.query("update things set name = replace(name, 'a', 'z') where id = 1");
    await client.query(
      "update things set name = replace(name, 'z', 'a'), n = case id when 1 then n else n + 1 end where id < 3",
    );
    await client.query("delete from things");

    const told = ((await payloads()) as { op?: string; key?: string; truncated?: { key: string } }[]).map(
      ({ op, key, truncated }) => (truncated === undefined ? `${op} ${key}` : `cut ${truncated.key}`),
    );
    expect([told.slice(0, 3), told.slice(3, 4), told.slice(4, 6).sort(), told.slice(6).sort()]).toEqual([
      ["cut 1", "INSERT 2", "cut 3"],
      ["cut 1"],
      ["UPDATE 2", "cut 1"],
      ["DELETE 2", "cut 1", "cut 3"],
    ]);
  });

  test("a table may have more columns than a function has arguments", async () => {
    const names = Array.from({ length: 250 }, (_, i) => `c${i}`);
    await client.query(`create table wide (id int primary key, ${names.map((name) => `${name} int`).join(", ")})`);
    await client.query("select carillon.watch('wide', 'wide')");
    await client.query("insert into wide (id, c0, c249) values (1, 2, 3)");

    const [{ row }] = (await payloads()) as [{ row: object }];
    expect(row).toEqual({ id: 1, ...Object.fromEntries(names.map((name) => [name, null])), c0: 2, c249: 3 });
  });

  test("odd text comes out as it went in", async () => {
    const name = '😀 "quoted" \'q\' \\ \u0001\u001f\u007f \u2028 é %s %1$s {"op":1} #';

    await client.query("insert into things values (1, $1)", [name]);

    expect(await payloads()).toMatchObject([{ row: { name } }]);
  });

  test.each([
    ["a new column", "alter table things add column big bigint default 9007199254740993", { big: "9007199254740993" }],
    ["a column made bigint", "alter table things alter column n type bigint", { n: "7" }],
    ["a renamed column", "alter table things rename column n to m", { m: 7 }],
    ["a dropped column", "alter table things drop column n", { id: 1, name: "a" }],
    ["another name", "alter table things rename to thangs; create view things as select * from thangs", { id: 1 }],
  ])("after the table got %s every write still commits and tells the truth", async (_what, change, row) => {
    const other = await connectTo(`postgres://postgres@${client.host}:${client.port}/${client.database}`);
    await client.query("insert into things values (1, 'a', 7)");
    await other.query("insert into things values (2, 'b', 8)");
    await client.query(change);
    await client.query("truncate carillon.outbox");

    await client.query("update things set name = 'a2' where id = 1");
    await other.query("update things set name = 'a3' where id = 1");
    const { rows } = await client.query("select carillon.rebuild() as rebuilt");
    await other.query("update things set name = 'a' where id = 1");

    expect(rows).toEqual([{ rebuilt: 1 }]);
    const published = await payloads();
    expect(published).toHaveLength(3);
    expect(published.at(-1)).toMatchObject({ op: "UPDATE", key: "1", row });
    expect(published.at(0)).toMatchObject({ op: "UPDATE", row: { name: "a2" } });
    expect(Object.keys((published[0] as { row: object }).row)).toEqual(
      Object.keys((published[2] as { row: object }).row),
    );
  });

  test("whatever fails in the capture, the write commits and subscribers hear that something changed", async () => {
    await client.query("alter table things add column extra int"); // so that the query is made anew
    await client.query(
      "create or replace function carillon.careful_sql(w carillon.watched, op text) returns text language plpgsql as $$ begin raise 'broken'; end $$",
    );

    await client.query("insert into things values (1, 'a', 1)");

    const { rows } = await client.query("select count(*)::int as count from things");
    expect(rows).toEqual([{ count: 1 }]);
    expect(await outbox(client)).toMatchObject([
      { channel: "things", payload: null, truncated: '{"table":"things","key":null}', error: "broken" },
    ]);
  });

  test("many statements in one transaction take one transaction id", async () => {
    await client.query("begin");
    for (let i = 0; i < 100; i++) await client.query("insert into things values ($1)", [i]);
    await client.query("commit");

    const { rows } = await client.query(
      "select count(distinct xmin::text)::int as ids from (select xmin from things union all select xmin from carillon.outbox) written",
    );

    expect(rows).toEqual([{ ids: 1 }]);
  });

  test("unwatch leaves nothing behind, and a second watch replaces the first", async () => {
    await client.query("select carillon.watch('things', 'other', '{name}')");
    await client.query("insert into things values (1, 'a', 1)");
    await client.query("update things set n = 2");
    expect(await outbox(client)).toMatchObject([{ channel: "other" }]);
    expect(await payloads()).toEqual([{ op: "INSERT", ...things, key: "1", row: { name: "a" } }]);

    await client.query("select carillon.unwatch('things')");
    await client.query("select carillon.unwatch('things')");
    await client.query("insert into things values (2, 'b', 1)");

    expect(await outbox(client)).toHaveLength(1);
    const { rows } = await client.query(
      "select tgname as name from pg_trigger where tgname like 'carillon%' union all select proname from pg_proc where proname ~ '^capture_\\d' union all select channel from carillon.watched",
    );
    expect(rows).toEqual([]);
  });

  test("a table that is dropped takes its capture function along at the next rebuild", async () => {
    await client.query("drop table things");
    await client.query("select carillon.rebuild()");

    const { rows } = await client.query("select proname from pg_proc where proname ~ '^capture_\\d'");
    expect(rows).toEqual([]);
  });
});

test("bigint and numeric are strings digit for digit, in keys and arrays too, and all else is JSON", async () => {
  await client.query(`
    create type mood as enum ('sad', 'happy');
    create domain price as numeric;
    create table typed (id bigint primary key, n numeric, p price, ids bigint[], i int, f float8, b boolean, at timestamptz,
      doc jsonb, mood mood, moods mood[], bytes bytea);
    alter table typed add column nothing bigint;
    select carillon.watch('typed', 'typed')`);

  await client.query(`insert into typed values
    (1533947986218845197, 0.1000000000000000055, 1.50, '{9007199254740993,-9223372036854775808}', 7, 'NaN', true,
     '2024-02-03T04:05:06Z', '{"big": 9007199254740993}', 'happy', '{sad,happy}', '\\x00ff'),
    (9007199254740993, 'NaN', 'Infinity', null, null, '-Infinity', null, null, null, null, null, null)`);

  const [first, second] = await outbox(client);
  expect(first?.payload).toBe(
    '{"op":"INSERT","schema":"public","table":"typed","key":"1533947986218845197","row":{"id":"1533947986218845197",' +
      '"n":"0.1000000000000000055","p":"1.50","ids":["9007199254740993","-9223372036854775808"],"i":7,"f":"NaN","b":true,' +
      '"at":"2024-02-03T04:05:06+00:00","doc":{"big": 9007199254740993},"mood":"happy","moods":["sad","happy"],' +
      '"bytes":"\\\\x00ff","nothing":null}}',
  );
  expect(JSON.parse(second?.payload ?? "")).toMatchObject({
    key: "9007199254740993",
    row: { n: "NaN", p: "Infinity", f: "-Infinity" },
  });
});

test("a value is whole, and a change within it is one, whatever its type is", async () => {
  await client.query(`
    create type address as (street text, zip text);
    create domain code as char(3);
    create table whole (id int primary key, c char(3), b bit(4), d code, cs char(3)[], a address);
    select carillon.watch('whole', 'whole')`);

  await client.query("insert into whole values (1, 'abc', '1010', 'abc', '{abc}', row('x', null))");
  for (const change of ["c = 'abd'", "b = '1011'", "d = 'abd'", "cs = '{abd}'", "a = row('y', null)", "a = null"]) {
    await client.query(`update whole set ${change}`);
  }

  const rows = ((await payloads()) as { row: object }[]).map(({ row }) => row);
  expect(rows).toEqual([
    { id: 1, c: "abc", b: "1010", d: "abc", cs: ["abc"], a: "(x,)" },
    { id: 1, c: "abd", b: "1010", d: "abc", cs: ["abc"], a: "(x,)" },
    { id: 1, c: "abd", b: "1011", d: "abc", cs: ["abc"], a: "(x,)" },
    { id: 1, c: "abd", b: "1011", d: "abd", cs: ["abc"], a: "(x,)" },
    { id: 1, c: "abd", b: "1011", d: "abd", cs: ["abd"], a: "(x,)" },
    { id: 1, c: "abd", b: "1011", d: "abd", cs: ["abd"], a: "(y,)" },
    { id: 1, c: "abd", b: "1011", d: "abd", cs: ["abd"], a: null },
  ]);
});

test("keys: an object for several columns, null for none; hostile names are only names", async () => {
  await client.query(`
    create table pair (b text, a bigint, primary key (a, b));
    create table bare (x int);
    create schema "S 1";
    create table "S 1"."o""k %s $1$ ' T" ("i'd %I" int primary key, "q""q" text, keys text, n int, bodies int);
    select carillon.watch('pair', 'c'), carillon.watch('bare', 'c'), carillon.watch('"S 1"."o""k %s $1$ '' T"', 'c')`);

  await client.query("insert into pair values ('x', 1); insert into bare values (1)");
  await client.query(`insert into "S 1"."o""k %s $1$ ' T" values (1, 'v', 'k', 2, 3)`);

  expect(await payloads()).toEqual([
    { op: "INSERT", schema: "public", table: "pair", key: { a: "1", b: "x" }, row: { b: "x", a: "1" } },
    { op: "INSERT", schema: "public", table: "bare", key: null, row: { x: 1 } },
    {
      ...{ op: "INSERT", schema: "S 1", table: `o"k %s $1$ ' T`, key: "1" },
      row: { "i'd %I": 1, 'q"q': "v", keys: "k", n: 2, bodies: 3 },
    },
  ]);
});

test("to_user: a row goes to its user, each side of a move to its own, and no row to nobody", async () => {
  await client.query("create table mine (id int primary key, owner text, note text)");
  await client.query("select carillon.watch('mine', 'mine', '{note}', 'owner')");

  await client.query(String.raw`insert into mine values (1, 'kim', 'a'), (2, null, 'b'), (3, E'bad\u0001', 'c')`);
  await client.query("update mine set owner = 'lee', note = 'secret' where id = 1");
  await client.query("delete from mine where id = 1");
  await client.query("insert into mine values (4, 'kim', 'a'), (5, 'lee', 'a'), (6, 'ann', 'a')");
  await client.query(
    "update mine set owner = case id when 4 then 'bo' else owner end, note = case id when 5 then 'b' else note end, id = case id when 6 then 60 else id end where id > 3",
  );

  const rows = await outbox(client);
  expect(rows.map(({ audience, error }) => audience ?? error)).toEqual([
    ...['{"users":["kim"]}', "a user id that is none", '{"users":["kim"]}', '{"users":["lee"]}', '{"users":["lee"]}'],
    ...['{"users":["kim"]}', '{"users":["lee"]}', '{"users":["ann"]}'],
    ...['{"users":["kim"]}', '{"users":["bo"]}', '{"users":["lee"]}', '{"users":["ann"]}'],
  ]);
  expect(rows[1]?.payload).toBeNull();
  expect(JSON.parse(rows[2]?.payload ?? "")).not.toHaveProperty("row");
  expect(JSON.parse(rows[3]?.payload ?? "")).not.toHaveProperty("old");
});

test.each(["owner", "note"])(
  "when the column %s that it names is gone, each write says so, until it is watched anew",
  async (gone) => {
    await client.query("create table mine (id int primary key, owner text, note text)");
    await client.query("select carillon.watch('mine', 'mine', '{id,note}', 'owner')");
    await client.query("insert into mine values (1, 'kim', 'a'); truncate carillon.outbox");

    await client.query(`alter table mine rename ${gone} to renamed`);
    await client.query("update mine set renamed = 'b'");
    const { rows } = await client.query("select carillon.rebuild() as rebuilt");
    await client.query("update mine set renamed = 'c'");
    await client.query(`alter table mine rename renamed to ${gone}`);
    await client.query("update mine set note = 'd'");

    expect(rows).toEqual([{ rebuilt: 0 }]);
    const told = {
      truncated: '{"table":"mine","key":null}',
      error: `its column ${gone} is gone; call carillon.watch again`,
    };
    expect(await outbox(client)).toMatchObject([told, told, { truncated: null, error: null }]);
  },
);

test("a partitioned table is watched whichever of its tables a statement names", async () => {
  await client.query(`
    create table parts (id int primary key, v text) partition by range (id);
    create table p1 partition of parts for values from (0) to (10);
    create table p2 (v text, id int not null);
    alter table parts attach partition p2 for values from (10) to (20);
    select carillon.watch('parts', 'parts')`);

  await client.query("insert into parts values (1, 'a'), (11, 'b')");
  await client.query("insert into p2 (id, v) values (12, 'c')");
  await client.query("update parts set id = 13 where id = 1");
  await client.query("delete from p2 where id = 13");

  expect(await payloads()).toMatchObject([
    { op: "INSERT", table: "parts", key: "1" },
    { op: "INSERT", table: "parts", key: "11", row: { id: 11, v: "b" } },
    { op: "INSERT", table: "parts", key: "12", row: { id: 12, v: "c" } },
    { op: "UPDATE", key: "13", row: { id: 13, v: "a" }, old: { id: 1, v: "a" } },
    { op: "DELETE", key: "13" },
  ]);
});

test("rows that a partition refuses to take over are told as a change, not as one of other rows", async () => {
  await client.query(`
    create table parts (id int primary key, v text) partition by range (id);
    create table p1 partition of parts for values from (0) to (10);
    create table p2 partition of parts for values from (10) to (20);
    create function refuse() returns trigger language plpgsql as $$ begin return case new.v when 'no' then null else new end; end $$;
    create trigger refuse before insert on p2 for each row execute function refuse();
    select carillon.watch('parts', 'parts');
    insert into parts values (1, 'no'), (2, 'no'), (3, 'a');
    truncate carillon.outbox`);

  await client.query("update parts set id = 11 where id = 1");
  await client.query("update parts set id = id + 10 where id > 1");

  const told = {
    payload: null,
    truncated: '{"table":"parts","key":null}',
    error: "an update of its partition key lost rows",
  };
  expect(await outbox(client)).toMatchObject([told, told]);
});

test("one TRUNCATE is one publication, whatever the table has under it", async () => {
  await client.query(`
    create table parts (id int primary key) partition by range (id);
    create table p1 partition of parts for values from (0) to (10);
    create table p2 partition of parts for values from (10) to (20);
    select carillon.watch('parts', 'parts')`);

  await client.query("begin; truncate parts; insert into parts values (1); truncate p1; commit; truncate parts");

  expect(((await payloads()) as { op: string }[]).map(({ op }) => op)).toEqual([
    ...["TRUNCATE", "INSERT", "TRUNCATE", "TRUNCATE"],
  ]);
});

test("a part may be watched by itself as well, and stays so when the whole is not any more", async () => {
  await client.query(`
    create table parts (id int primary key) partition by range (id);
    create table p1 partition of parts for values from (0) to (10);
    select carillon.watch('p1', 'part');
    select carillon.watch('parts', 'whole')`);

  await client.query("insert into p1 values (1)");
  await client.query("insert into parts values (2)");
  await client.query("select carillon.unwatch('parts')");
  await client.query("insert into p1 values (3)");

  const told = (await outbox(client)).map(({ channel, payload }) => `${channel} ${JSON.parse(payload ?? "").key}`);
  expect(told.toSorted()).toEqual(["part 1", "part 3", "whole 1", "whole 2"]);
});

test("tables that inherit are watched with the one that they inherit from", async () => {
  await client.query(`
    create table vehicles (id int primary key, v text);
    create table trucks (load int) inherits (vehicles);
    create temp table toys () inherits (vehicles);
    select carillon.watch('vehicles', 'vehicles')`);

  await client.query("insert into trucks values (1, 'a', 9)");
  await client.query("update vehicles set v = 'b'");
  await client.query("delete from trucks");
  await client.query("select carillon.unwatch('vehicles')");
  await client.query("insert into trucks values (2, 'a', 9)");

  const of = { schema: "public", table: "vehicles", key: "1" };
  expect(await payloads()).toEqual([
    { op: "INSERT", ...of, row: { id: 1, v: "a" } },
    { op: "UPDATE", ...of, row: { id: 1, v: "b" }, old: { id: 1, v: "a" } },
    { op: "DELETE", ...of, old: { id: 1, v: "b" } },
  ]);
});

test.each([
  ["select carillon.watch('pg_class', 'c')", /not a table that can be watched/],
  ["select carillon.watch('carillon.outbox', 'c')", /not a table that can be watched/],
  ["select carillon.watch('v', 'c')", /not a table that can be watched/],
  ["select carillon.watch('t', 'a b')", /is not a channel name/],
  ["select carillon.watch('t', 'c', '{id,nope}')", /has no column nope/],
  ["select carillon.watch('t', 'c', '{}')", /empty list/],
  ["select carillon.watch('t', 'c', to_user => 'x y')", /has no column "x y"/],
  ["select carillon.watch('t', 'c', '{virtual}')", /has no column virtual/],
  ["select carillon.watch('far', 'c')", /foreign table public.far_1 under it/],
])("%s is refused", async (statement, message) => {
  await client.query(`
    create table t (id int, virtual int generated always as (id) virtual);
    create view v as select 1 as one;
    create foreign data wrapper elsewhere;
    create server elsewhere foreign data wrapper elsewhere;
    create table far (id int) partition by list (id);
    create foreign table far_1 partition of far for values in (1) server elsewhere`);

  await expect(client.query(statement)).rejects.toThrow(message);
});
