/** Looks a set-up over for somebody who wants to know everything at once: where `probePostgres` ends at the first "no", this goes on. */
import type pg from "pg";
import { latestVersion } from "./migrate.ts";
import {
  checkEcho,
  checkRights,
  checkServer,
  olderSchema,
  type ProbeOptions,
  probeClient,
  reasonOf,
  schemaVersion,
} from "./probe.ts";
import { SetupError, setupErrorFrom } from "./setup-error.ts";

export interface ExamineOptions extends ProbeOptions {
  /** Whether nodes bring the schema up to date themselves: then an older one is no problem, if the role may. */
  readonly migrates: boolean;
}

export interface PostgresFacts {
  readonly version: string;
  readonly role: string;
  readonly connections: number;
  readonly maxConnections: number;
  /** Of the queue of notifications, 0 to 1. */
  readonly notifyQueueUsage: number;
  /** Off: a crash of its machine may lose, or spoil, what was committed. */
  readonly fsync: boolean;
  readonly pendingMigrations: number;
}

export interface Examination {
  /** Absent where Postgres can't be asked. */
  readonly facts?: PostgresFacts;
  readonly problems: readonly SetupError[];
  /** Why it could not be asked (any further), where no setting is to blame. */
  readonly away?: string;
}

export async function examinePostgres(options: ExamineOptions): Promise<Examination> {
  const problems: SetupError[] = [];
  const note = async (work: () => Promise<void>) => {
    try {
      await work();
    } catch (error) {
      const wrong = setupErrorFrom(error);
      if (wrong === undefined) throw error;
      if (!problems.some(({ message }) => message === wrong.message)) problems.push(wrong);
    }
  };
  const clients: pg.Client[] = [];
  const open = async (connectionString: string) => {
    const one = probeClient(connectionString);
    clients.push(one);
    await one.connect();
    return one;
  };
  let facts: PostgresFacts | undefined;
  try {
    await note(async () => {
      const speaker = await open(options.connectionString);
      const listener = await open(options.listenConnectionString ?? options.connectionString);
      let pendingMigrations = 0;
      await note(() => checkServer(speaker));
      await note(() => checkServer(listener));
      await note(async () => {
        pendingMigrations = await checkSchema(listener, options.migrates);
      });
      await note(() => checkEcho(speaker, listener, options));
      facts = { ...(await ask(speaker)), pendingMigrations };
    });
    return { ...(facts && { facts }), problems };
  } catch (error) {
    return { ...(facts && { facts }), problems, away: reasonOf(error) };
  } finally {
    await Promise.all(clients.map((one) => one.end().catch(() => {})));
  }
}

/** How many migrations are to come. */
async function checkSchema(one: pg.Client, migrates: boolean): Promise<number> {
  const version = await schemaVersion(one);
  const pending = latestVersion() - version;
  if (pending === 0) await checkRights(one);
  else if (!migrates) throw olderSchema(version);
  else if (version === 0) await checkMayCreate(one);
  return pending;
}

async function checkMayCreate(one: pg.Client): Promise<void> {
  const { rows } = await one.query(
    `select current_user as role, current_database() as database,
       has_database_privilege(current_database(), 'create') or to_regnamespace('carillon') is not null as may`,
  );
  const { role, database, may } = rows[0];
  if (may) return;
  throw new SetupError(
    `the role ${role} may not create Carillon's schema`,
    `grant create on database ${database} to ${role}; or let the database's owner run the migrations, grant this role what ` +
      "infra/postgres/roles.sql names, and set MIGRATE=off",
  );
}

async function ask(one: pg.Client): Promise<Omit<PostgresFacts, "pendingMigrations">> {
  const { rows } = await one.query(
    `select current_setting('server_version') as version, current_user as role,
       (select count(*)::int from pg_stat_activity where backend_type = 'client backend') as connections,
       current_setting('max_connections')::int as "maxConnections",
       case when pg_is_in_recovery() then 0 else pg_notification_queue_usage() end as "notifyQueueUsage",
       current_setting('fsync')::boolean as fsync`,
  );
  return rows[0];
}
