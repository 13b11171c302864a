import type { PostgresFacts } from "@carillon/postgres";
import type { Settings } from "@carillon/server";
import { DOCS, type Finding, ok, problem, skipped, warning } from "./finding.ts";

const QUEUE_FILLS = 0.1;
const CROWDED = 0.8;

/** Postgres, as the nodes with these settings use it. */
export async function checkPostgres({ postgres }: Settings): Promise<readonly Finding[]> {
  if (postgres === undefined) {
    const what = "there is no Postgres: nothing is published from SQL, and there is neither inbox nor push";
    return [skipped("postgres", what, "set DATABASE_URL")];
  }
  const { url, listenUrl, migrate: migrates } = postgres;
  const { examinePostgres } = await import("@carillon/postgres");
  const { facts, problems, away } = await examinePostgres({
    connectionString: url,
    migrates,
    ...(listenUrl !== url && { listenConnectionString: listenUrl }),
  });
  const found = problems.map(({ what, fix }) =>
    problem("postgres", what, { fix, docs: /pooler/.test(what) ? DOCS.poolers : DOCS.postgres }),
  );
  if (away !== undefined) found.push(unreachable(url, away));
  if (facts === undefined) return found;
  return [
    ...(found.length > 0
      ? found
      : [ok("postgres", `Postgres ${facts.version} as ${facts.role}: reachable, and LISTEN works`)]),
    ...migrations(facts),
    ...load(facts),
  ];
}

function unreachable(url: string, reason: string): Finding {
  return problem("postgres", `Postgres at ${new URL(url).host} can't be asked: ${reason}`, {
    fix: "start it, or correct DATABASE_URL and what is in between",
    docs: DOCS.postgres,
  });
}

function migrations({ pendingMigrations }: PostgresFacts): Finding[] {
  if (pendingMigrations === 0) return [];
  const what = `Carillon's schema is ${pendingMigrations} migrations behind; the next node that starts brings it up to date (MIGRATE=on)`;
  return [ok("postgres.migrations", what)];
}

function load({ connections, maxConnections, notifyQueueUsage, fsync }: PostgresFacts): Finding[] {
  const findings: Finding[] = [];
  if (connections > CROWDED * maxConnections) {
    findings.push(
      warning("postgres.connections", `${connections} of ${maxConnections} connections are taken`, {
        fix: "raise max_connections, or put a pooler in front and set DATABASE_LISTEN_URL",
        docs: DOCS.poolers,
      }),
    );
  }
  if (notifyQueueUsage > QUEUE_FILLS) {
    findings.push(
      warning(
        "postgres.notifyQueue",
        `the queue of notifications is ${Math.round(100 * notifyQueueUsage)} % full; full, every commit with a NOTIFY fails`,
        {
          fix: "end the session that LISTENs and sits in a transaction (pg_stat_activity, oldest xact_start)",
          docs: DOCS.notify,
        },
      ),
    );
  }
  if (!fsync) {
    findings.push(
      warning("postgres.fsync", "fsync is off: a crash of its machine loses what was committed, or all of it", {
        fix: "set fsync = on in Postgres, unless this is a test",
        docs: DOCS.postgres,
      }),
    );
  }
  return findings;
}
