/** The queue of pushes: pg-boss in the same Postgres, so that a job is there if and only if what it is about is. */
import { createHash } from "node:crypto";
import { type Logger, Rarely } from "@carillon/core";
import { type Db, PgBoss } from "pg-boss";
import type { Database, Pool } from "./database.ts";
import type { Client, PushJob, PushQueue } from "./jobs.ts";
import { LOCK_CLASS, REDRIVE_LOCK } from "./locks.ts";

/** A job as it is stored. */
interface StoredJob extends PushJob {
  /** How many attempts came before; absent where none did. */
  readonly attempts?: number;
  /** Since when its time runs, in ms, where that is not when the entry was made: of what was redriven. */
  readonly sinceMs?: number;
}

/** A job that is this node's for as long as it says so. */
export interface TakenJob {
  readonly id: string;
  readonly retryCount: number;
  readonly data: StoredJob;
}

export interface QueueDepth {
  readonly waiting: number;
  readonly active: number;
  readonly dead: number;
}

export interface PgBossQueueOptions {
  /** For pg-boss's own statements. */
  readonly pool: Pool;
  readonly database: Pick<Database, "rows" | "transaction">;
  /** Whether pg-boss may bring its schema up to date. */
  readonly migrate: boolean;
  /** Whether it looks after jobs of nodes that died, and after what is old; default true. */
  readonly supervise?: boolean;
  readonly logger: Logger;
}

export const BOSS_SCHEMA = "carillon_boss";
const QUEUE = "push";
const DEAD = "push-dead";
/** A node that says nothing for so long is dead, and its jobs are others'. */
const HEARTBEAT_S = 20;
const SUPERVISE_S = 5;
const DAY_S = 86_400;
const WARN_EVERY_MS = 60_000;

export class PgBossQueue implements PushQueue {
  readonly #pool: Pool;
  readonly #database: PgBossQueueOptions["database"];
  readonly #boss: PgBoss;
  #started = false;

  constructor({ pool, database, migrate, supervise = true, logger }: PgBossQueueOptions) {
    this.#pool = pool;
    this.#database = database;
    this.#boss = new PgBoss({
      db: dbOf(pool),
      schema: BOSS_SCHEMA,
      migrate,
      createSchema: migrate,
      schedule: false,
      supervise,
      superviseIntervalSeconds: SUPERVISE_S,
      monitorIntervalSeconds: SUPERVISE_S,
    });
    const rarely = new Rarely(WARN_EVERY_MS);
    this.#boss.on("error", (error) =>
      rarely.say("upkeep", (heldBack) =>
        logger.warn({ err: error, heldBack }, "the push queue's upkeep failed; it is tried again"),
      ),
    );
    this.#boss.on("warning", ({ message }) => logger.debug({ warning: message }, "the push queue warns"));
  }

  /** Rejects while Postgres is away; to be called again then. */
  async start(): Promise<void> {
    await this.#boss.start();
    await this.#boss.createQueue(DEAD, { retentionSeconds: 14 * DAY_S });
    await this.#boss.createQueue(QUEUE, {
      deadLetter: DEAD,
      // Only for nodes that die with a job in their hands; what FCM answers is the sender's to deal with.
      retryLimit: 10,
      retryDelay: 1,
      heartbeatSeconds: HEARTBEAT_S,
      expireInSeconds: 3600,
      retentionSeconds: 14 * DAY_S,
      deleteAfterSeconds: DAY_S,
    });
    this.#started = true;
  }

  get started(): boolean {
    return this.#started;
  }

  async stop(): Promise<void> {
    this.#started = false;
    await this.#boss.stop({ graceful: false, close: false });
  }

  async add(jobs: readonly PushJob[], tx?: Client): Promise<void> {
    if (jobs.length === 0) return;
    const unique = new Map(jobs.map((job) => [jobId(job), job]));
    await this.#boss.insert(
      QUEUE,
      [...unique].map(([id, data]) => ({ id, data })),
      { db: dbOf(tx ?? this.#pool), returnId: false },
    );
  }

  /** The oldest ones whose time has come. They are this node's until it settles them, or is silent for too long. */
  async take(limit: number): Promise<TakenJob[]> {
    const jobs = await this.#boss.fetch<StoredJob>(QUEUE, { batchSize: limit });
    return jobs.map(({ id, retryCount, data }) => ({ id, retryCount, data }));
  }

  /** Says that they are still worked on. */
  async keep(jobs: readonly TakenJob[]): Promise<void> {
    if (jobs.length > 0) await this.#boss.touch(QUEUE, attemptsOf(jobs));
  }

  async complete(jobs: readonly TakenJob[], tx: Client): Promise<void> {
    if (jobs.length > 0) await this.#boss.complete(QUEUE, attemptsOf(jobs), null, { db: dbOf(tx) });
  }

  /** Back into the queue, each for its time; `attempted` says whether that was one of its attempts. */
  async later(
    jobs: readonly { readonly job: TakenJob; readonly delayMs: number; readonly attempted: boolean }[],
    tx: Client,
  ): Promise<void> {
    if (jobs.length === 0) return;
    const db = dbOf(tx);
    await this.#boss.deleteJob(QUEUE, attemptsOf(jobs.map(({ job }) => job)), { db });
    const again = jobs.map(({ job: { id, data }, delayMs, attempted }) => ({
      id,
      data: { ...data, attempts: (data.attempts ?? 0) + (attempted ? 1 : 0) },
      startAfter: new Date(Date.now() + delayMs),
    }));
    // Whoever lost them in the meantime inserts nothing: they are there.
    await this.#boss.insert(QUEUE, again, { db, returnId: false });
  }

  /** To the dead letters, where they wait for `redrive`. */
  async bury(jobs: readonly TakenJob[], tx: Client): Promise<void> {
    if (jobs.length === 0) return;
    const db = dbOf(tx);
    await this.#boss.complete(QUEUE, attemptsOf(jobs), null, { db });
    const letters = jobs.map(({ id, data }) => ({ id, data }));
    await this.#boss.insert(DEAD, letters, { db, returnId: false });
  }

  /** Sends dead letters again, the oldest first, with all of their time. Resolves with how many. */
  async redrive({ limit, ...match }: Partial<PushJob> & { readonly limit: number }): Promise<number> {
    return this.#database.transaction(async ({ client, rows }) => {
      const db = dbOf(client);
      // One at a time, or two calls would both find the same.
      await rows(`select pg_advisory_xact_lock(${LOCK_CLASS}, ${REDRIVE_LOCK})`);
      const data = Object.keys(match).length > 0 ? { data: match } : {};
      const dead = await this.#boss.findJobs<StoredJob>(DEAD, { ...data, queued: true, limit, db });
      if (dead.length === 0) return 0;
      const ids = dead.map(({ id }) => id);
      await this.#boss.deleteJob(DEAD, ids, { db });
      // What was sent before is in the queue still, as done.
      await this.#boss.deleteJob(QUEUE, ids, { db });
      const again = dead.map(({ id, data: { attempts: _, ...job } }) => ({
        id,
        data: { ...job, sinceMs: Date.now() },
      }));
      await this.#boss.insert(QUEUE, again, { db, returnId: false });
      return dead.length;
    });
  }

  async depth(): Promise<QueueDepth> {
    const rows = await this.#database.rows({
      text: `select name, state::text, count(*)::int as n from ${BOSS_SCHEMA}.job
        where name in ($1, $2) and state in ('created', 'retry', 'active') group by 1, 2`,
      values: [QUEUE, DEAD],
    });
    const sum = (name: string, states: readonly string[]) =>
      rows.filter((row) => row.name === name && states.includes(row.state)).reduce((total, { n }) => total + n, 0);
    return {
      waiting: sum(QUEUE, ["created", "retry"]),
      active: sum(QUEUE, ["active"]),
      dead: sum(DEAD, ["created", "retry"]),
    };
  }
}

/** A UUID made of event and device, so that a job is the same one however often it is added. */
export function jobId({ eventId, installationId }: Pick<PushJob, "eventId" | "installationId">): string {
  const hex = createHash("sha256")
    .update(JSON.stringify([eventId, installationId]))
    .digest("hex");
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-8${hex.slice(13, 16)}-8${hex.slice(17, 20)}-${hex.slice(20, 32)}`;
}

function attemptsOf(jobs: readonly TakenJob[]): { id: string; retryCount: number }[] {
  return jobs.map(({ id, retryCount }) => ({ id, retryCount }));
}

function dbOf(client: Pick<Client, "query">): Db {
  return { executeSql: (text, values) => client.query(text, values as unknown[]) };
}
