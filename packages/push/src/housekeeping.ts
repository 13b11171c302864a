/** Throws away what is old, a batch at a time, on one node at a time. */
import type { Logger, Meter } from "@carillon/core";
import type { Database } from "./database.ts";
import { HOUSEKEEPING_LOCK, LOCK_CLASS } from "./locks.ts";

export interface HousekeepingOptions {
  readonly database: Pick<Database, "transaction">;
  readonly inboxRetentionDays: number;
  readonly meter: Pick<Meter, "count">;
  readonly logger: Logger;
  /** Default ten minutes. */
  readonly everyMs?: number;
}

const EVERY_MS = 600_000;
const BATCH = 1_000;
/** Firebase itself takes a token that was not used for so long for stale. */
const DEVICE_IDLE_DAYS = 270;

/** By id where a table has one: rows were written in about that order, so that the oldest are found without an index for it. */
const oldest = (table: string, at: string) =>
  `delete from carillon.${table} where ${at} < clock_timestamp() - $1::interval
   and id in (select id from carillon.${table} order by id limit ${BATCH}) returning 1`;
const older = (table: string, key: string, at: string) =>
  `delete from carillon.${table} where (${key}) in (
     select ${key} from carillon.${table} where ${at} < clock_timestamp() - $1::interval limit ${BATCH}
   ) returning 1`;

export class Housekeeping {
  readonly #options: HousekeepingOptions;
  #timer: NodeJS.Timeout | undefined;
  #working: Promise<void> = Promise.resolve();
  #stopped = false;

  constructor(options: HousekeepingOptions) {
    this.#options = options;
  }

  start(): void {
    const everyMs = this.#options.everyMs ?? EVERY_MS;
    this.#timer = setTimeout(
      () => {
        this.#working = this.#tidy().then(() => {
          if (!this.#stopped) this.start();
        });
      },
      everyMs * (0.5 + Math.random()),
    );
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    clearTimeout(this.#timer);
    await this.#working;
  }

  async #tidy(): Promise<void> {
    const { inboxRetentionDays, meter, logger } = this.#options;
    const inbox = `${inboxRetentionDays} days`;
    const tasks = [
      { metric: "inboxPruned", labels: {}, text: oldest("inbox_entry", "created_at"), age: inbox },
      { metric: undefined, labels: {}, text: oldest("push_attempt", "at"), age: inbox },
      {
        metric: undefined,
        labels: {},
        text: older("push_seen", "event_id, user_id, installation_id", "seen_at"),
        age: "1 day",
      },
      { metric: undefined, labels: {}, text: older("notify_request", "key", "at"), age: "1 day" },
      {
        metric: "devicesRemoved",
        labels: { reason: "idle" },
        text: older("device", "installation_id", "last_seen_at"),
        age: `${DEVICE_IDLE_DAYS} days`,
      },
    ] as const;
    try {
      for (const { metric, labels, text, age } of tasks) {
        let gone: number;
        do {
          gone = await this.#batch(text, age);
          if (metric !== undefined) meter.count(metric, gone, labels);
        } while (gone === BATCH && !this.#stopped);
      }
    } catch (error) {
      logger.warn({ err: error }, "old entries could not be thrown away yet");
    }
  }

  /** Resolves with how many rows are gone: none while another node is at it. */
  #batch(text: string, age: string): Promise<number> {
    return this.#options.database.transaction(async ({ rows }) => {
      const [lock] = await rows(`select pg_try_advisory_xact_lock(${LOCK_CLASS}, ${HOUSEKEEPING_LOCK}) as held`);
      if (lock?.held !== true) return 0;
      return (await rows({ text, values: [age] })).length;
    });
  }
}
