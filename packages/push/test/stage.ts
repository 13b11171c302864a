/** A real Postgres with notifications, devices and a queue in it, and a sender to the stand-in. */
import { type Meter, type MetricKey, noLogger } from "@carillon/core";
import { type FcmServer, waitFor } from "@carillon/testkit";
import pg from "pg";
import { Brake } from "../src/brake.ts";
import { Database } from "../src/database.ts";
import { readFirebaseAccount } from "../src/fcm/account.ts";
import { FirebaseFcm } from "../src/fcm/firebase.ts";
import type { PushJob } from "../src/jobs.ts";
import { Pauses } from "../src/pauses.ts";
import { PgBossQueue } from "../src/queue.ts";
import { Sender, type SenderOptions } from "../src/sender.ts";
import { Targets } from "../src/targets.ts";
import { pushDatabase } from "./push-database.ts";

export interface Attempt {
  readonly installation_id: string;
  readonly attempt: number;
  readonly outcome: string;
  readonly error_code: string | null;
  readonly fcm_name: string | null;
  readonly detail: Record<string, unknown> | null;
}

export class Stage {
  readonly url: string;
  readonly pool: pg.Pool;
  readonly database: Database;
  readonly pauses: Pauses;
  readonly counts = new Map<string, number>();
  readonly #fcm: FcmServer;
  readonly #migrate: boolean;
  readonly #closers: (() => Promise<unknown>)[] = [];
  #events = 0;

  constructor(url: string, fcm: FcmServer, { migrate = true } = {}) {
    this.#migrate = migrate;
    this.url = url;
    this.#fcm = fcm;
    this.pool = new pg.Pool({ connectionString: url, max: 12 });
    this.pool.on("error", () => {});
    this.database = new Database(this.pool);
    this.pauses = new Pauses(this.database);
  }

  static async open(fcm: FcmServer): Promise<Stage> {
    return new Stage(await pushDatabase(), fcm);
  }

  async queue(): Promise<PgBossQueue> {
    const queue = new PgBossQueue({
      pool: this.pool,
      database: this.database,
      migrate: this.#migrate,
      logger: noLogger,
    });
    await queue.start();
    this.#closers.push(() => queue.stop());
    return queue;
  }

  /** A sender as a node has one. */
  async sender(changes: Partial<SenderOptions> & { maxDeadPercent?: number; ttlMs?: number } = {}): Promise<Sender> {
    const { maxDeadPercent = 20, ttlMs = 3_600_000, ...more } = changes;
    const fcm = new FirebaseFcm(readFirebaseAccount(this.#fcm.credentials));
    const meter: Meter = {
      count: (key, by = 1, labels = {}) => this.#count(key, labels, by),
      set: (key, value, labels = {}) => void this.counts.set(name(key, labels), value),
      observe() {},
    };
    const sender = new Sender({
      queue: await this.queue(),
      database: this.database,
      targets: new Targets(this.database, ttlMs),
      pauses: this.pauses,
      fcm,
      quota: { take: async () => 0 },
      brake: new Brake({ maxPercent: maxDeadPercent }),
      meter,
      logger: noLogger,
      ...more,
    });
    sender.start();
    this.#closers.push(async () => {
      await sender.stop();
      await fcm.close();
    });
    return sender;
  }

  counted(key: MetricKey, labels: Record<string, string> = {}): number {
    return this.counts.get(name(key, labels)) ?? 0;
  }

  /** One entry for `user`, and a job for each of the devices, which are registered with a token of the same name. */
  async event(user: string, devices: readonly string[], content: Record<string, unknown> = {}): Promise<PushJob[]> {
    const eventId = `event-${++this.#events}`;
    const { type = "TRIP_APPROVED", title = "Trip", body = "Approved", data = {} } = content;
    const [entry] = await this.database.rows({
      text: `insert into carillon.inbox_entry (event_id, user_id, type, title, body, data)
        values ($1, $2, $3, $4, $5, $6) returning id`,
      values: [eventId, user, type, title, body, JSON.stringify(data)],
    });
    const revisions = await this.register(user, devices);
    return devices.map((installationId) => ({
      entryId: entry?.id,
      eventId,
      userId: user,
      installationId,
      revision: revisions.get(installationId) ?? "0",
    }));
  }

  async register(user: string, devices: readonly string[], platform = "android"): Promise<Map<string, string>> {
    const rows = await this.database.rows({
      text: `insert into carillon.device as d (installation_id, user_id, token, platform)
        select id, $1, id, $3 from unnest($2::text[]) id
        on conflict (installation_id) do update set user_id = excluded.user_id, revision = nextval('carillon.device_revision')
        returning installation_id, revision::text`,
      values: [user, devices, platform],
    });
    return new Map(rows.map((row) => [row.installation_id, row.revision]));
  }

  async attempts(where = "true"): Promise<Attempt[]> {
    return (await this.database.rows(`select * from carillon.push_attempt where ${where} order by id`)) as Attempt[];
  }

  async devices(where = "true"): Promise<string[]> {
    const rows = await this.database.rows(`select installation_id from carillon.device where ${where} order by 1`);
    return rows.map((row) => row.installation_id);
  }

  /** Until nobody waits and nobody sends. */
  async idle(queue: PgBossQueue, timeoutMs = 20_000): Promise<void> {
    await waitFor(
      async () => {
        const { waiting, active } = await queue.depth();
        return waiting + active === 0;
      },
      { what: "the queue to be empty", timeoutMs },
    );
  }

  async close(): Promise<void> {
    for (const close of this.#closers.toReversed()) await close();
    await this.pool.end();
  }

  #count(key: MetricKey, labels: Record<string, string>, by: number): void {
    const at = name(key, labels);
    this.counts.set(at, (this.counts.get(at) ?? 0) + by);
  }
}

function name(key: MetricKey, labels: Record<string, string>): string {
  return [key, ...Object.values(labels)].join(" ");
}
