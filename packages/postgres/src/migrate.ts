/**
 * Brings the schema up to this version. Any number of nodes may do so at once: each migration runs in a transaction that first takes a
 * lock, of a kind that a transaction pooler keeps too.
 */
import { readdirSync, readFileSync } from "node:fs";
import type { Logger } from "@carillon/core";
import pg from "pg";
import { LOCK_CLASS, MIGRATE_LOCK } from "./locks.ts";
import { SetupError, setupErrorFrom } from "./setup-error.ts";

export interface MigrateOptions {
  readonly logger: Logger;
  /** What SQL has to know: `MAX_PAYLOAD_BYTES`, `WATCH_MAX_ROWS`, `PUSH_ACK_MS`, `NOTIFY_ROUTES` as JSON. */
  readonly settings?: Readonly<Record<string, string | number>>;
}

type Client = Pick<pg.ClientBase, "query">;

interface Migration {
  readonly version: number;
  readonly name: string;
  readonly sql: string;
}

const FOLDER = new URL("../migrations/", import.meta.url);
const CONNECT_TIMEOUT_MS = 5_000;

/** Throws `SetupError` where no retry helps: a newer schema, missing rights, a Postgres that is too old or not to be trusted. */
export async function migrate(target: string | Client, options: MigrateOptions): Promise<void> {
  try {
    await (typeof target === "string" ? migrateAt(target, options) : migrateOn(target, options));
  } catch (error) {
    throw setupErrorFrom(error) ?? error;
  }
}

async function migrateAt(connectionString: string, options: MigrateOptions): Promise<void> {
  const client = new pg.Client({
    connectionString,
    application_name: "carillon-migrate",
    connectionTimeoutMillis: CONNECT_TIMEOUT_MS,
  });
  client.on("error", () => {}); // the query under way says it too
  try {
    await client.connect();
    await migrateOn(client, options);
  } finally {
    await client.end().catch(() => {});
  }
}

/** The version that this code knows. */
export function latestVersion(): number {
  return migrations().at(-1)?.version ?? 0;
}

async function migrateOn(client: Client, { logger, settings = {} }: MigrateOptions): Promise<void> {
  while (await step(client, logger)) {
    // One transaction for each, so that what is done stays done.
  }
  await inTransaction(client, () => writeSettings(client, settings));
}

/** Applies the next migration; false when there is none. */
function step(client: Client, logger: Logger): Promise<boolean> {
  return inTransaction(client, async () => {
    const current = await currentVersion(client);
    const all = migrations();
    const latest = all.at(-1)?.version ?? 0;
    if (current > latest) throw newerSchema(current, latest);
    const next = all.find(({ version }) => version > current);
    if (next === undefined) return false;
    await client.query(next.sql);
    await client.query("insert into carillon.migration (version, name) values ($1, $2)", [next.version, next.name]);
    logger.info({ version: next.version, name: next.name }, "migration applied");
    return true;
  });
}

async function currentVersion(client: Client): Promise<number> {
  // Asked first: `create … if not exists` needs the right to create even where there is nothing to do.
  const { rows } = await client.query("select to_regclass('carillon.migration') is not null as there");
  if (rows[0]?.there !== true) {
    await client.query("create schema if not exists carillon");
    await client.query(
      "create table carillon.migration (version int primary key, name text not null, applied_at timestamptz not null default now())",
    );
    return 0;
  }
  const answer = await client.query("select coalesce(max(version), 0)::int as version from carillon.migration");
  return answer.rows[0].version;
}

async function writeSettings(client: Client, settings: Readonly<Record<string, string | number>>): Promise<void> {
  const { rowCount } = await client.query(
    `insert into carillon.setting as s (name, value) select * from unnest($1::text[], $2::text[])
     on conflict (name) do update set value = excluded.value where s.value <> excluded.value`,
    [Object.keys(settings), Object.values(settings).map(String)],
  );
  if (rowCount !== 0) await client.query("select carillon.rebuild()");
}

async function inTransaction<T>(client: Client, work: () => Promise<T>): Promise<T> {
  await client.query("begin");
  try {
    await client.query(`select pg_advisory_xact_lock(${LOCK_CLASS}, ${MIGRATE_LOCK})`);
    const result = await work();
    await client.query("commit");
    return result;
  } catch (error) {
    await client.query("rollback").catch(() => {}); // the connection may be what failed
    throw error;
  }
}

function migrations(): Migration[] {
  return readdirSync(FOLDER)
    .filter((file) => /^\d{4}_.*\.sql$/.test(file))
    .sort()
    .map((file) => ({
      version: Number(file.slice(0, 4)),
      name: file,
      sql: readFileSync(new URL(file, FOLDER), "utf8"),
    }));
}

export function newerSchema(current: number, latest: number): SetupError {
  return new SetupError(
    `the database has version ${current} of Carillon's schema and this node knows only ${latest}`,
    "start a newer node, or use another database",
  );
}
