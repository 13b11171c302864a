import { noLogger } from "@carillon/core";
import { migrate } from "@carillon/postgres";
import { createTemplate, sharedDatabase, sharedPostgres } from "@carillon/testkit";
import pg from "pg";
import { Database } from "../src/database.ts";
import { PgBossQueue } from "../src/queue.ts";

/** The URL of a new database with our schema and the queue's. One template for all: files that run side by side share it by its name. */
export async function pushDatabase(): Promise<string> {
  const template = await createTemplate(await sharedPostgres(), "carillon_push", async (url) => {
    await migrate(url, { logger: noLogger });
    const pool = new pg.Pool({ connectionString: url });
    const queue = new PgBossQueue({ pool, database: new Database(pool), migrate: true, logger: noLogger });
    await queue.start();
    await queue.stop();
    await pool.end();
  });
  return sharedDatabase(template);
}
