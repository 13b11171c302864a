import type { Logger } from "@carillon/core";
import pg from "pg";

const MAX_CONNECTIONS = 5;
const TIMEOUT_MS = 5_000;

/** For short queries that may go through a pooler. It connects when it is used, and a lost connection is not an error of its own. */
export function createPool(connectionString: string, logger: Logger, maxConnections = MAX_CONNECTIONS): pg.Pool {
  const pool = new pg.Pool({
    connectionString,
    application_name: "carillon",
    max: maxConnections,
    connectionTimeoutMillis: TIMEOUT_MS,
    query_timeout: TIMEOUT_MS,
    keepAlive: true,
  });
  pool.on("error", (error) => logger.debug({ err: error }, "an idle connection to Postgres was lost"));
  return pool;
}
