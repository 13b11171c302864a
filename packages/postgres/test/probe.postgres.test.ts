import { chmodSync, chownSync, cpSync, readdirSync, readlinkSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { noLogger } from "@carillon/core";
import {
  databaseUrl,
  freePort,
  queryAt,
  Service,
  sharedDatabase,
  startPgBouncer,
  startPostgres,
  startProxy,
  tempDir,
} from "@carillon/testkit";
import { expect, onTestFinished, test } from "vitest";
import { examinePostgres } from "../src/examine.ts";
import { migrate } from "../src/migrate.ts";
import { probePostgres } from "../src/probe.ts";
import { migratedDatabase } from "./support.ts";

test("a Postgres that is set up well is well", async () => {
  expect(await probePostgres({ connectionString: await migratedDatabase() })).toEqual({ status: "ok" });
});

test("a transaction pooler is refused with the setting to make, and a session pooler is well", async () => {
  const url = await migratedDatabase();
  const through = async (mode: "transaction" | "session") => {
    const pooler = await startPgBouncer({ port: Number(new URL(url).port) }, mode);
    onTestFinished(() => pooler.stop());
    return databaseUrl(pooler.url, new URL(url).pathname.slice(1));
  };
  const transaction = await through("transaction");

  const result = await probePostgres({ connectionString: transaction });

  expect(result).toMatchObject({
    status: "wrong",
    error: { message: expect.stringMatching(/transaction mode.*DATABASE_LISTEN_URL/s) },
  });
  expect(await probePostgres({ connectionString: transaction, listenConnectionString: url })).toEqual({ status: "ok" });
  expect(await probePostgres({ connectionString: url, listenConnectionString: transaction })).toMatchObject({
    status: "wrong",
  });
  expect(await probePostgres({ connectionString: await through("session") })).toEqual({ status: "ok" });
});

test("a listen URL that leads to another database is refused", async () => {
  const result = await probePostgres({
    connectionString: await migratedDatabase(),
    listenConnectionString: await migratedDatabase(),
  });

  expect(result).toMatchObject({ status: "wrong", error: { message: expect.stringContaining("same database") } });
});

test("a standby is refused by name", async () => {
  const primary = await startPostgres();
  onTestFinished(() => primary.stop());
  await migrate(primary.url, { logger: noLogger });
  const command = readlinkSync(`/proc/${primary.pid}/exe`);
  await primary.stop();
  const dataDir = join(tempDir("standby"), "data");
  cpSync(primary.dataDir, dataDir, { recursive: true });
  writeFileSync(join(dataDir, "standby.signal"), "");
  chmodSync(dataDir, 0o700);
  const { uid, gid } = statSync(primary.dataDir);
  for (const entry of ["", ...readdirSync(dataDir, { recursive: true })])
    chownSync(join(dataDir, String(entry)), uid, gid);
  const port = await freePort();
  const standby = new Service({
    name: "a standby",
    command,
    args: ["-D", dataDir, "-p", String(port), "-c", "unix_socket_directories=", "-c", "max_connections=200"],
    cwd: "/",
    ...(process.getuid?.() === 0 && { uid, gid }),
    stopSignal: "SIGINT",
    orphanSignal: "SIGQUIT",
    ready: ({ output }) => output.includes("ready to accept read-only connections"),
  });
  await standby.start();
  onTestFinished(async () => void (await standby.stop()));

  const connectionString = `postgres://postgres@127.0.0.1:${port}/postgres`;
  const result = await probePostgres({ connectionString });
  const { problems, facts } = await examinePostgres({ connectionString, migrates: true });

  expect(result).toMatchObject({ status: "wrong", error: { message: expect.stringContaining("standby") } });
  expect(problems.map(({ what }) => what)).toEqual([expect.stringContaining("standby")]);
  expect(facts).toMatchObject({ role: "postgres", pendingMigrations: 0 });
});

test("a missing, an older and a newer schema are told apart", async () => {
  const empty = await sharedDatabase();
  expect(await probePostgres({ connectionString: empty })).toMatchObject({
    error: { message: expect.stringContaining("MIGRATE=on") },
  });

  const url = await migratedDatabase();
  await queryAt(url, "insert into carillon.migration (version, name) values (999, 'x')");
  expect(await probePostgres({ connectionString: url })).toMatchObject({
    error: { message: expect.stringContaining("999") },
  });

  await queryAt(url, "delete from carillon.migration where version > 1");
  expect(await probePostgres({ connectionString: url })).toMatchObject({
    error: { message: expect.stringContaining("this node needs") },
  });
});

test("whoever looks a set-up over hears of everything at once", async () => {
  const transaction = await startPgBouncer({ port: Number(new URL(await sharedDatabase()).port) }, "transaction");
  onTestFinished(() => transaction.stop());
  const empty = await sharedDatabase();
  const pooled = databaseUrl(transaction.url, new URL(empty).pathname.slice(1));

  const { problems } = await examinePostgres({ connectionString: pooled, migrates: false, echoTimeoutMs: 300 });
  const migrating = await examinePostgres({ connectionString: empty, migrates: true });

  expect(problems.map(({ fix }) => fix)).toEqual([
    expect.stringContaining("MIGRATE=on"),
    expect.stringContaining("DATABASE_LISTEN_URL"),
  ]);
  expect(migrating).toMatchObject({ problems: [], facts: { pendingMigrations: expect.toSatisfy((n) => n > 2) } });
});

test("a wrong login and a missing database are wrong; a server that is away is not", async () => {
  const url = await migratedDatabase();
  const stranger = new URL(url);
  stranger.username = "nobody_here";
  expect(await probePostgres({ connectionString: stranger.href })).toMatchObject({ status: "wrong" });
  expect(await probePostgres({ connectionString: databaseUrl(url, "not_there") })).toMatchObject({ status: "wrong" });

  const away = new URL(url);
  away.port = String(await freePort());
  expect(await probePostgres({ connectionString: away.href })).toMatchObject({ status: "away" });
});

test("a server that accepts and never answers is away, within seconds", async () => {
  const url = await migratedDatabase();
  const proxy = await startProxy(Number(new URL(url).port));
  onTestFinished(() => proxy.close());
  proxy.blackhole();
  const deaf = new URL(url);
  deaf.port = String(proxy.port);

  expect(await probePostgres({ connectionString: deaf.href })).toMatchObject({ status: "away" });
});
