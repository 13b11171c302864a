import type { Meter } from "@carillon/core";
import pg from "pg";
import { onTestFinished } from "vitest";
import { Database } from "../src/database.ts";
import { pushDatabase } from "./push-database.ts";

export interface Subject {
  readonly url: string;
  readonly pool: pg.Pool;
  readonly database: Database;
  query(text: string, values?: unknown[]): Promise<Record<string, unknown>[]>;
}

/** A new database, and a pool on it. */
export async function subject(): Promise<Subject> {
  const url = await pushDatabase();
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
