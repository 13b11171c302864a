import type { Logger, Meter } from "@carillon/core";
import type { Query } from "./connection.ts";

const EVERY_MS = 10_000;
const WARN_ABOVE = 0.1;

/**
 * Watches the queue of notifications that some listener has not read yet, which is one for the whole cluster: when it is full, every
 * commit with a NOTIFY fails. Asking also lets Postgres free what all have read.
 */
export class NotifyQueue {
  readonly #meter: Meter;
  readonly #logger: Logger;
  #checkedAt = Number.NEGATIVE_INFINITY;

  constructor({ meter, logger }: { meter: Meter; logger: Logger }) {
    this.#meter = meter;
    this.#logger = logger;
  }

  /** Asks at most every ten seconds. */
  async check(query: Query): Promise<void> {
    if (performance.now() - this.#checkedAt < EVERY_MS) return;
    this.#checkedAt = performance.now();
    const [row] = await query("select pg_notification_queue_usage()", [], { name: "queue" });
    const usage = Number(row?.[0]);
    this.#meter.set("notifyQueueUsage", usage);
    if (usage < WARN_ABOVE) return;
    const [culprit] = await query(
      `select pid, usename, application_name, extract(epoch from now() - xact_start)::int
       from pg_stat_activity where xact_start is not null and pid <> pg_backend_pid() and backend_type = 'client backend'
       order by xact_start limit 1`,
    );
    this.#logger.warn(
      {
        usage,
        ...(culprit !== undefined && {
          pid: Number(culprit[0]),
          user: culprit[1],
          application: culprit[2],
          transactionS: Number(culprit[3]),
        }),
      },
      "Postgres's notification queue fills up: a session that LISTENs has not ended its transaction; the oldest one is named " +
        "(select pg_terminate_backend(pid) ends it). When the queue is full, every commit with a NOTIFY fails",
    );
  }
}
