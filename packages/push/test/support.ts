import { readdirSync, readFileSync } from "node:fs";
import type { Meter } from "@carillon/core";
import { connectSql, createTemplate, sharedDatabase, sharedPostgres } from "@carillon/testkit";
import pg from "pg";
import { onTestFinished } from "vitest";
import { Database } from "../src/database.ts";

const migrations = new URL("../../postgres/migrations/", import.meta.url);

export interface Subject {
  readonly url: string;
  readonly pool: pg.Pool;
  readonly database: Database;
  query(text: string, values?: unknown[]): Promise<Record<string, unknown>[]>;
}

/** A new database with the schema in it, and a pool on it. The package that migrates is not one that this one may use. */
export async function subject(): Promise<Subject> {
  const template = await createTemplate(await sharedPostgres(), "carillon_push", async (url) => {
    const client = await connectSql(url);
    await client.query("create schema carillon");
    for (const file of readdirSync(migrations).sort())
      await client.query(readFileSync(new URL(file, migrations), "utf8"));
    await client.end();
  });
  const url = await sharedDatabase(template);
  const pool = poolOf(url);
  return {
    url,
    pool,
    database: new Database(pool),
    query: async (text, values) => (await pool.query(text, values)).rows,
  };
}

export function poolOf(url: string): pg.Pool {
  const pool = new pg.Pool({ connectionString: url, max: 10, connectionTimeoutMillis: 10_000 });
  pool.on("error", () => {});
  onTestFinished(() => pool.end());
  return pool;
}

export class RecordingMeter implements Meter {
  readonly counts = new Map<string, number>();

  count(key: string, by = 1, labels: Readonly<Record<string, string>> = {}): void {
    const name = [key, ...Object.values(labels)].join(":");
    this.counts.set(name, (this.counts.get(name) ?? 0) + by);
  }

  set(): void {}
  observe(): void {}
}

/** Stores an event in SQL, due at once. Returns its id. */
export async function notify(db: Subject, userIds: readonly string[], type = "A"): Promise<string> {
  const [row] = await db.query("select carillon.notify($1::text[], $2, 'Title', 'Body') as id", [userIds, type]);
  await db.query("update carillon.inbox_entry set push_due_at = now() where event_id = $1", [row?.id]);
  return String(row?.id);
}

export async function addDevice(db: Subject, userId: string, installationId: string, more: object = {}): Promise<void> {
  const device = { token: `token-${installationId}`, disabled_at: null, ...more };
  await db.query(
    "insert into carillon.device (installation_id, user_id, token, platform, disabled_at) values ($1, $2, $3, 'web', $4)",
    [installationId, userId, device.token, device.disabled_at],
  );
}
