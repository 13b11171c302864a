import { noLogger } from "@carillon/core";
import { databaseUrl, queryAt, sharedDatabase, sharedPostgres } from "@carillon/testkit";
import { expect, test } from "vitest";
import { latestVersion, migrate } from "../src/migrate.ts";
import { SetupError } from "../src/setup-error.ts";

test("four nodes that migrate at once apply each migration once", async () => {
  const url = await sharedDatabase();
  const applied: object[] = [];
  const logger = { ...noLogger, info: (fields: object) => void applied.push(fields) };

  await Promise.all([1, 2, 3, 4].map(() => migrate(url, { logger, settings: { MAX_PAYLOAD_BYTES: 1000 } })));

  expect(applied).toHaveLength(latestVersion());
  const rows = await queryAt(url, "select version from carillon.migration order by version");
  expect(rows.map(({ version }) => version)).toEqual([...Array(latestVersion()).keys()].map((n) => n + 1));
  expect(await queryAt(url, "select name, value from carillon.setting")).toEqual([
    { name: "MAX_PAYLOAD_BYTES", value: "1000" },
  ]);
});

test("an owner who is no superuser can migrate, publish and watch", async () => {
  const { url } = await ownedDatabase();

  await migrate(url, { logger: noLogger });

  await queryAt(url, "create table things (id int primary key)");
  await queryAt(url, "select carillon.watch('things', 'things')");
  await queryAt(url, "insert into things values (1)");
  await queryAt(url, "select carillon.publish('chat', '1')");
  const rows = await queryAt(url, "select channel from carillon.outbox order by id");
  expect(rows).toEqual([{ channel: "things" }, { channel: "chat" }]);
});

test("a writer without any rights in the schema fires its triggers and reaches the drop-in", async () => {
  const { url, name } = await ownedDatabase();
  await migrate(url, { logger: noLogger });
  const writer = `w_${name}`;
  await queryAt(await sharedPostgres(), `create role ${writer} login`);
  await queryAt(url, "create table things (id int primary key)");
  await queryAt(url, "select carillon.watch('things', 'things')");
  await queryAt(url, `grant insert on things to ${writer}`);
  const writerUrl = new URL(url);
  writerUrl.username = writer;

  await queryAt(writerUrl.href, "insert into things values (1)");
  await queryAt(writerUrl.href, "set search_path = carillon_notify, pg_catalog; select pg_notify('chat', 'hello')");

  const rows = await queryAt(url, "select channel, raw from carillon.outbox order by id");
  expect(rows).toEqual([
    { channel: "things", raw: null },
    { channel: "chat", raw: "hello" },
  ]);
  await expect(queryAt(writerUrl.href, "select carillon.publish('chat', '1')")).rejects.toThrow("permission denied");
});

test("a newer schema than this node knows is refused by name", async () => {
  const url = await sharedDatabase();
  await migrate(url, { logger: noLogger });
  await queryAt(url, "insert into carillon.migration (version, name) values (999, '0999_future.sql')");

  const attempt = migrate(url, { logger: noLogger });

  await expect(attempt).rejects.toThrow(SetupError);
  await expect(attempt).rejects.toThrow(/version 999.*knows only/);
});

test("a role without the right to create schemas is told what it needs", async () => {
  const { name } = await ownedDatabase();
  const stranger = `s_${name}`;
  await queryAt(await sharedPostgres(), `create role ${stranger} login`);
  const url = new URL(databaseUrl(await sharedPostgres(), name));
  url.username = stranger;

  await expect(migrate(url.href, { logger: noLogger })).rejects.toThrow(
    /insufficient rights.*grant create on database/,
  );
});

test("settings that change are written, and capture functions are written anew for them", async () => {
  const url = await sharedDatabase();
  await migrate(url, { logger: noLogger, settings: { WATCH_MAX_ROWS: 10 } });
  await queryAt(url, "create table things (id int primary key)");
  await queryAt(url, "select carillon.watch('things', 'things')");

  await migrate(url, { logger: noLogger, settings: { WATCH_MAX_ROWS: 2 } });
  await queryAt(url, "insert into things values (1), (2), (3)");

  const rows = await queryAt(url, "select payload from carillon.outbox");
  expect(rows).toEqual([{ payload: '{"op":"INSERT","table":"things","rows":3}' }]);
});

async function ownedDatabase(): Promise<{ url: string; name: string }> {
  const shared = await sharedPostgres();
  const name = `owned_${Math.random().toString(36).slice(2, 10)}`;
  await queryAt(shared, `create role ${name} login`);
  await queryAt(shared, `create database ${name} owner ${name}`);
  const url = new URL(databaseUrl(shared, name));
  url.username = name;
  return { url: url.href, name };
}
