import { queryAt, waitFor } from "@carillon/testkit";
import { describe, expect, test } from "vitest";
import {
  connectTo,
  migratedDatabase,
  migratedDatabaseIn,
  newBridge,
  RecordingLog,
  RecordingMeter,
  runningBridge,
} from "./support.ts";

test("what commits is published once, in order, with its content", async () => {
  const url = await migratedDatabase();
  const log = new RecordingLog();
  await runningBridge(url, log);

  await queryAt(url, `select carillon.publish('chat', '{"a": [1, 9007199254740993], "b": "x, y"}', '{"users": [42]}')`);
  await queryAt(url, "select carillon.refresh('refresh.trips', 'TRIP_APPROVED')");
  await queryAt(
    url,
    `select carillon_notify.pg_notify('trips.refresh', ''), carillon_notify.pg_notify('chat', 'no json')`,
  );

  expect(await log.waitForPublications(4)).toMatchObject([
    { channel: "chat", payload: '{"a":[1,9007199254740993],"b":"x, y"}', to: { users: ["42"] } },
    { channel: "trips", scope: "TRIP_APPROVED" },
    { channel: "trips", scope: "ALL" },
    { channel: "chat", payload: '"no json"' },
  ]);
});

test("a transaction that takes its id early and commits late is delivered", async () => {
  const url = await migratedDatabase();
  const log = new RecordingLog();
  await runningBridge(url, log, { pageRows: 10 });
  const late = await connectTo(url);
  await late.query("begin; select carillon.publish('late', '1')");

  for (let i = 0; i < 50; i++) await queryAt(url, "select carillon.publish('chat', to_jsonb($1::int))", [i]);
  await log.waitForPublications(50, "chat");
  expect(await log.publications("late")).toEqual([]);
  await late.query("select carillon.publish('late', '2')");
  await late.query("commit");

  expect(await log.waitForPublications(2, "late")).toMatchObject([{ payload: "1" }, { payload: "2" }]);
  expect(await log.publications()).toHaveLength(52);
});

test("where transactions are serializable by default, being read fails none of them", async () => {
  const url = await migratedDatabase();
  const log = new RecordingLog();
  await queryAt(url, "create table stock (id int primary key, n int); insert into stock values (1, 1)");
  await queryAt(
    url,
    `alter database ${new URL(url).pathname.slice(1)} set default_transaction_isolation = serializable`,
  );
  const reader = await connectTo(url);
  await reader.query("begin; select * from stock");
  await queryAt(url, "update stock set n = 2");
  await runningBridge(url, log);
  await queryAt(url, "select carillon.publish('chat', '1')");
  await log.waitForPublications(1);

  await reader.query("select carillon.publish('chat', '2')");
  await reader.query("commit");

  await log.waitForPublications(2);
});

test("a transaction that took millions of ids for its savepoints while no other ended holds up nothing", async () => {
  const url = await migratedDatabase();
  const log = new RecordingLog();
  // As its snapshot and the id after it would be then.
  await queryAt(url, "update carillon.cursor set hi_xid = (pg_snapshot_xmax(hi)::text::bigint + 50000000)::text::xid8");
  await runningBridge(url, log, { pageRows: 3 });

  for (const channel of ["a", "b"]) {
    await queryAt(url, "select carillon.publish($1, to_jsonb(g)) from generate_series(1, 5) g", [channel]);
  }

  const published = await log.waitForPublications(10);
  expect(published.map(({ channel, payload }) => `${channel}${payload}`)).toEqual(
    ["a", "b"].flatMap((channel) => [1, 2, 3, 4, 5].map((n) => `${channel}${n}`)),
  );
});

test("under 16 writers every row's changes arrive once and in the order of their commits", async () => {
  const url = await migratedDatabase();
  const log = new RecordingLog();
  await queryAt(url, "create table counters (id int primary key, n int not null)");
  await queryAt(url, "insert into counters select g, 0 from generate_series(1, 8) g");
  await queryAt(url, "select carillon.watch('counters', 'counters')");
  await runningBridge(url, log, { pageRows: 50 });

  await Promise.all(
    Array.from({ length: 16 }, async (_, writer) => {
      const client = await connectTo(url);
      for (let i = 0; i < 40; i++) {
        // Some publish before they wait for a row, and so have early ids and late commits.
        await client.query(`begin; ${i % 3 === 0 ? "select carillon.publish('other', '1');" : ""}
          update counters set n = n + 1 where id = ${1 + ((writer * 7 + i) % 8)}; commit`);
      }
    }),
  );

  const published = await log.waitForPublications(640, "counters");
  const last = new Map<string, number>();
  for (const { payload } of published) {
    const { key, row } = JSON.parse(payload ?? "") as { key: string; row: { n: number } };
    expect(row.n).toBe((last.get(key) ?? 0) + 1);
    last.set(key, row.n);
  }
  expect(await log.publications("other")).toHaveLength(16 * 14);
});

test("very many small transactions share windows, and every one is published", async () => {
  const url = await migratedDatabase();
  const log = new RecordingLog();
  const startedAt = performance.now();
  await runningBridge(url, log);

  await queryAt(
    url,
    "do $$ begin for n in 1..20000 loop perform carillon.publish('chat', to_jsonb(n)); commit; end loop; end $$",
  );

  await log.waitForPublications(20_000, undefined, 45_000);
  const [cursor] = await queryAt<{ window_number: string }>(url, "select window_number from carillon.cursor");
  const seconds = (performance.now() - startedAt) / 1000;
  expect(Number(cursor?.window_number)).toBeLessThanOrEqual(150 + 150 * seconds);
});

test("two bridges at once publish each row once", async () => {
  const url = await migratedDatabase();
  const log = new RecordingLog();
  const meters = [new RecordingMeter(), new RecordingMeter()];
  for (const meter of meters) await runningBridge(url, log, { meter, everybodyHoldsTheLease: true, pageRows: 20 });

  await Promise.all(
    [1, 2, 3, 4].map(async (writer) => {
      const client = await connectTo(url);
      for (let i = 0; i < 500; i++)
        await client.query("select carillon.publish($1, to_jsonb($2::int))", [`c${writer}`, i]);
    }),
  );

  await log.waitForPublications(2000);
  for (const writer of [1, 2, 3, 4]) {
    const numbers = (await log.publications(`c${writer}`)).map(({ payload }) => Number(payload));
    expect(numbers).toEqual([...Array(500).keys()]);
  }
  const published = meters.map((meter) => meter.counts.get("outboxPublished") ?? 0);
  expect(published.reduce((a, b) => a + b)).toBe(2000);
});

test("equal refreshes on one page share one publication, in the place of the first", async () => {
  const url = await migratedDatabase();
  const log = new RecordingLog();
  await queryAt(
    url,
    `select carillon.refresh('trips', 'A'), carillon.publish('chat', '1'), carillon.refresh('trips', 'A'),
       carillon.refresh('trips', 'A', '{"users": ["kim"]}'), carillon.refresh('trips', 'B')`,
  );

  await runningBridge(url, log);

  expect(await log.waitForPublications(4)).toMatchObject([
    { scope: "A" },
    { payload: "1" },
    { scope: "A", to: { users: ["kim"] } },
    { scope: "B" },
  ]);
});

test("while the bus is away the bridge keeps its place and says how far behind it is", async () => {
  const url = await migratedDatabase();
  const log = new RecordingLog();
  const meter = new RecordingMeter();
  await runningBridge(url, log, { meter });
  log.away = true;
  await queryAt(url, "select carillon.publish('chat', to_jsonb(g)) from generate_series(1, 1200) g");
  await waitFor(() => (meter.gauges.get("bridgeLagSeconds") ?? 0) > 0.5, { what: "the lag to grow" });

  log.away = false;

  const published = await log.waitForPublications(1200);
  expect(published.map(({ payload }) => Number(payload))).toEqual([...Array(1200).keys()].map((n) => n + 1));
  expect(meter.gauges.get("bridgeLagSeconds")).toBeLessThan(5);
});

test("nonsense in the outbox is counted, and the next good row arrives", async () => {
  const url = await migratedDatabase();
  const log = new RecordingLog();
  const meter = new RecordingMeter();
  await runningBridge(url, log, { meter });

  await queryAt(url, "select carillon_notify.pg_notify('not a channel', 'x'), carillon_notify.pg_notify(null, 'x')");
  await queryAt(url, "select carillon.publish('chat', $1::jsonb)", ["[".repeat(65) + "]".repeat(65)]);
  await queryAt(url, "select carillon.publish('chat', '1')");

  expect(await log.waitForPublications(2)).toMatchObject([{ truncated: '{"bytes":130}' }, { payload: "1" }]);
  expect(meter.counts.get("drops:outbox_channel")).toBe(2);
  expect(meter.counts.get("drops:outbox_depth")).toBe(1);
});

test.each([
  ["SQL_ASCII", "which checks none"],
  ["WIN1252", "in which it is no character"],
])("text of a database in %s, %s, that is no UTF-8 spoils its own row only", async (encoding) => {
  const url = await migratedDatabaseIn(encoding);
  const log = new RecordingLog();
  await runningBridge(url, log);
  const writer = await connectTo(url);
  await writer.query(`create table notes (id int, note text); select carillon.watch('notes', 'notes', '{note}')`);

  await writer.query("insert into notes values (1, 'é')");
  await writer.query(`set client_encoding = ${encoding}; insert into notes values (2, E'b\\x81d')`);
  await writer.query("set client_encoding = utf8");
  await writer.query("insert into notes values (3, 'é')");

  const rows = (await log.waitForPublications(3)).map(({ payload }) => JSON.parse(payload ?? "").row);
  expect(rows).toEqual([{ note: "é" }, { note: "b\ufffdd" }, { note: "é" }]);
});

test("pages are bounded by bytes, and a row larger than that is a page", async () => {
  const url = await migratedDatabase();
  const log = new RecordingLog();
  await queryAt(url, "select carillon.publish('chat', to_jsonb(repeat('x', 10000))) from generate_series(1, 20)");

  await runningBridge(url, log, { pageBytes: 30_000 });

  await log.waitForPublications(20);
  expect(Math.max(...log.batches.map((batch) => batch.length))).toBe(3);
});

test("published rows go, those of an open transaction stay until they are published", async () => {
  const url = await migratedDatabase();
  const log = new RecordingLog();
  const late = await connectTo(url);
  await late.query("begin; select carillon.publish('late', '1')");
  await runningBridge(url, log);
  await queryAt(url, "select carillon.publish('chat', '1') from generate_series(1, 5000)");
  await log.waitForPublications(5000);
  // The last window goes when the next one begins.
  await queryAt(url, "select carillon.publish('chat', '2')");

  const left = () => queryAt<{ n: number }>(url, "select count(*)::int as n from carillon.outbox");
  await waitFor(async () => (await left())[0]!.n <= 1, { what: "the outbox to be emptied" });
  await late.query("commit");

  await log.waitForPublications(1, "late");
});

test("upkeep that somebody holds up does not hold up what is published", async () => {
  const url = await migratedDatabase();
  const log = new RecordingLog();
  await queryAt(url, "create table gone (id int); select carillon.watch('gone', 'gone'); drop table gone");
  const holder = await connectTo(url);
  await holder.query("begin; select from carillon.watched for update");
  await runningBridge(url, log);
  await queryAt(url, "select carillon.publish('chat', '1')");
  await log.waitForPublications(1);
  await holder.query("select from carillon.outbox for update");

  await queryAt(url, "select carillon.publish('chat', '2')");
  await log.waitForPublications(2);
  await queryAt(url, "select carillon.publish('chat', '3')");

  await log.waitForPublications(3);
});

describe("an outbox that does not fit", () => {
  test("to this cluster: what is there is published after a gap is told", async () => {
    const url = await migratedDatabase();
    const log = new RecordingLog();
    await queryAt(url, "select carillon.publish('chat', '1')");
    await queryAt(
      url,
      "update carillon.cursor set system_identifier = 7, lo = '90000000:90000000:', hi = '90000000:90000000:', hi_id = 999, lo_id = 999, window_number = 40",
    );
    await queryAt(url, "update carillon.outbox set xid = '90000001'");

    await runningBridge(url, log);
    await log.waitForPublications(1);
    await queryAt(url, "select carillon.publish('chat', '2')");

    await log.waitForPublications(2);
    const entries = await log.entries();
    expect(entries).toMatchObject([{ gap: {} }, { payload: "1" }, { payload: "2" }]);
    expect(entries[0]).toHaveProperty("gap");
  });

  test("to the time: a cursor ahead of the transactions", async () => {
    const url = await migratedDatabase();
    const log = new RecordingLog();
    await queryAt(url, "select carillon.publish('chat', '1')");
    await queryAt(url, "update carillon.cursor set lo = '90000000:90000000:', hi = '90000000:90000000:'");

    await runningBridge(url, log);

    await log.waitForPublications(1);
    expect(await log.gaps()).toBe(1);
  });

  test("to the log: a fence ahead of the cursor is jumped past", async () => {
    const url = await migratedDatabase();
    const log = new RecordingLog();
    await log.append([
      { draft: { channel: "chat", payload: "0" as never }, fence: { source: "outbox", position: [1000, 5] } },
    ]);
    await queryAt(url, "select carillon.publish('chat', '1')");

    await runningBridge(url, log);
    await log.waitForPublications(2);
    await queryAt(url, "select carillon.publish('chat', '2')");

    await log.waitForPublications(3);
    expect(await log.gaps()).toBe(1);
    const [cursor] = await queryAt<{ n: number }>(url, "select window_number::int as n from carillon.cursor");
    expect(cursor?.n).toBeGreaterThan(1000);
  });
});

test("a bridge that was stopped leaves the rest to the next one", async () => {
  const url = await migratedDatabase();
  const log = new RecordingLog();
  const first = await runningBridge(url, log);
  const second = newBridge(url, log);
  second.start();
  await queryAt(url, "select carillon.publish('chat', '1')");
  await log.waitForPublications(1);
  expect(second.state.holdsLease).toBe(false);

  await first.stop();
  await queryAt(url, "select carillon.publish('chat', '2')");

  await log.waitForPublications(2);
  expect(second.state.holdsLease).toBe(true);
});
