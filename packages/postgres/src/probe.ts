/** Asks at the start whether Postgres is set up so that it can work at all. Each "no" names its cause and what to do. */
import { randomBytes } from "node:crypto";
import pg from "pg";
import { latestVersion, newerSchema } from "./migrate.ts";
import { SetupError, setupErrorFrom, standby } from "./setup-error.ts";

export interface ProbeOptions {
  /** `DATABASE_URL` */
  readonly connectionString: string;
  /** `DATABASE_LISTEN_URL`, where set. */
  readonly listenConnectionString?: string | undefined;
  /** How long a notification may take; default 2,000. */
  readonly echoTimeoutMs?: number;
}

export type ProbeResult =
  | { readonly status: "ok" }
  /** Try again later. */
  | { readonly status: "away"; readonly reason: string }
  /** No retry helps. */
  | { readonly status: "wrong"; readonly error: SetupError };

const MIN_VERSION = 15;
const CONNECT_TIMEOUT_MS = 4_000;
const QUERY_TIMEOUT_MS = 4_000;

/** Run it after the migrations: it wants the schema. */
export async function probePostgres(options: ProbeOptions): Promise<ProbeResult> {
  const clients: pg.Client[] = [];
  try {
    const speaker = probeClient(options.connectionString);
    clients.push(speaker);
    const listener = probeClient(options.listenConnectionString ?? options.connectionString);
    clients.push(listener);
    await Promise.all([speaker.connect(), listener.connect()]);
    await checkServer(speaker);
    await checkServer(listener);
    await checkSchema(listener);
    await checkEcho(speaker, listener, options);
    return { status: "ok" };
  } catch (error) {
    const wrong = setupErrorFrom(error);
    if (wrong !== undefined) return { status: "wrong", error: wrong };
    return { status: "away", reason: reasonOf(error) };
  } finally {
    await Promise.all(clients.map((one) => one.end().catch(() => {})));
  }
}

export async function checkServer(one: pg.Client): Promise<void> {
  const { rows } = await one.query(
    "select current_setting('server_version_num')::int / 10000 as version, pg_is_in_recovery() as standby",
  );
  if (rows[0].version < MIN_VERSION) {
    throw new SetupError(`this is Postgres ${rows[0].version}`, `use Postgres ${MIN_VERSION} or newer`);
  }
  if (rows[0].standby) throw standby();
}

async function checkSchema(one: pg.Client): Promise<void> {
  const version = await schemaVersion(one);
  if (version < latestVersion()) throw olderSchema(version);
  await checkRights(one);
}

/** 0 where Carillon's schema isn't in this database. Throws on one that is newer than this code. */
export async function schemaVersion(one: pg.Client): Promise<number> {
  const { rows } = await one.query("select to_regclass('carillon.migration') is not null as there");
  if (!rows[0].there) return 0;
  const { rows: versions } = await one.query("select max(version) as version from carillon.migration");
  const { version } = versions[0];
  if (version > latestVersion()) throw newerSchema(version, latestVersion());
  return version ?? 0;
}

export function olderSchema(version: number): SetupError {
  if (version === 0) {
    return new SetupError(
      "Carillon's schema is not in this database",
      "start once with MIGRATE=on, or correct DATABASE_URL and DATABASE_LISTEN_URL",
    );
  }
  return new SetupError(
    `the database has version ${version} of Carillon's schema and this node needs ${latestVersion()}`,
    "start once with MIGRATE=on",
  );
}

export async function checkRights(one: pg.Client): Promise<void> {
  const { rows } = await one.query(
    `select current_user as role, has_table_privilege('carillon.outbox', 'select')
       and has_table_privilege('carillon.outbox', 'delete') and has_table_privilege('carillon.cursor', 'update')
       and has_sequence_privilege('carillon.outbox_id_seq', 'select') as enough`,
  );
  if (rows[0].enough) return;
  throw new SetupError(
    `the role ${rows[0].role} may not read the outbox`,
    "use the role that ran the migrations, or grant it select and delete on carillon.outbox, update on carillon.cursor and select on " +
      "carillon.outbox_id_seq (infra/postgres/roles.sql)",
  );
}

/**
 * A notification that one connection sends must reach the other. Two of them, since a transaction pooler passes on to a client what its
 * own transaction sent.
 */
export async function checkEcho(speaker: pg.Client, listener: pg.Client, options: ProbeOptions): Promise<void> {
  const channel = `carillon_probe_${randomBytes(8).toString("hex")}`;
  const { promise: heard, resolve } = Promise.withResolvers<boolean>();
  const timer = setTimeout(() => resolve(false), options.echoTimeoutMs ?? 2_000);
  listener.on("notification", (message) => message.channel === channel && resolve(true));
  listener.once("end", () => resolve(false));
  try {
    await listener.query(`listen ${pg.escapeIdentifier(channel)}`);
    await speaker.query("select pg_notify($1, '')", [channel]);
    if (await heard) return;
    // A connection that is gone says nothing about the set-up; this throws then.
    await listener.query(`unlisten ${pg.escapeIdentifier(channel)}`);
  } finally {
    clearTimeout(timer);
  }
  throw options.listenConnectionString === undefined
    ? new SetupError(
        "a notification did not come back within 2 s: DATABASE_URL seems to go through a pooler in transaction mode (PgBouncer's " +
          "pool_mode=transaction), which loses LISTEN",
        "set DATABASE_LISTEN_URL to Postgres itself, or to a pool in session mode",
      )
    : new SetupError(
        "a notification that was sent through DATABASE_URL did not come back through DATABASE_LISTEN_URL within 2 s",
        "DATABASE_LISTEN_URL must lead to the same database, and not through a pooler in transaction mode (PgBouncer's " +
          "pool_mode=transaction)",
      );
}

export function probeClient(connectionString: string): pg.Client {
  const one = new pg.Client({
    connectionString,
    application_name: "carillon-probe",
    connectionTimeoutMillis: CONNECT_TIMEOUT_MS,
    query_timeout: QUERY_TIMEOUT_MS,
  });
  one.on("error", () => {}); // the query under way says it too
  return one;
}

/** Never the connection string. */
export function reasonOf(error: unknown): string {
  if (error instanceof AggregateError) return error.errors.map(reasonOf).join("; ");
  return error instanceof Error ? error.message : String(error);
}
