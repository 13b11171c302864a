/**
 * Decides, for each entry whose push is due, which of its user's devices get one. Any number of nodes may do so at once: each takes
 * entries that no other has taken, and hands over the jobs in the transaction that marks them as decided.
 */
import { setTimeout as sleep } from "node:timers/promises";
import { type Logger, type Meter, Rarely } from "@carillon/core";
import type { Database, Transaction } from "./database.ts";
import type { PushJob, PushQueue } from "./jobs.ts";
import { type PushRule, pushPolicy, type Verdict, verdict } from "./policy.ts";

export interface DecisionOptions {
  readonly database: Pick<Database, "transaction">;
  readonly queue: Pick<PushQueue, "add">;
  readonly policy: readonly PushRule[];
  readonly meter: Pick<Meter, "count" | "set">;
  readonly logger: Logger;
  /** How long it sleeps when nothing is due; default 200. */
  readonly pollMs?: number;
}

/** A user has at most 25 devices, so this bounds a transaction's jobs too. */
const MAX_ENTRIES = 200;
const POLL_MS = 200;
const RETRY_MAX_MS = 5_000;
const WARN_EVERY_MS = 60_000;

/** What was reported in between stays with its rows; that an entry was read is asked of the row as it is when it is locked. */
const TAKE = `
  with due as materialized (
    select id, event_id, user_id, type, push_due_at, read_at is not null or archived_at is not null as read
    from carillon.inbox_entry where push_due_at <= clock_timestamp()
    order by push_due_at limit ${MAX_ENTRIES} for update skip locked
  ), decided as (
    update carillon.inbox_entry e set push_due_at = null from due where e.id = due.id
  )
  select due.*, extract(epoch from clock_timestamp() - push_due_at)::float as late_s,
    device.installation_id, device.revision,
    exists (select from carillon.push_seen s
      where s.event_id = due.event_id and s.user_id = due.user_id and s.installation_id = device.installation_id) as seen_here,
    exists (select from carillon.push_seen s where s.event_id = due.event_id and s.user_id = due.user_id) as seen_anywhere
  from due
  left join carillon.device on device.user_id = due.user_id and device.disabled_at is null
    and (device.token is not null or device.fid is not null)`;

export class Decision {
  readonly #options: DecisionOptions;
  readonly #when: ReturnType<typeof pushPolicy>;
  readonly #rarely = new Rarely(WARN_EVERY_MS);
  #stopping: AbortController | undefined;
  #running: Promise<void> = Promise.resolve();

  constructor(options: DecisionOptions) {
    this.#options = options;
    this.#when = pushPolicy(options.policy);
  }

  start(): void {
    if (this.#stopping !== undefined) return;
    this.#stopping = new AbortController();
    this.#running = this.#run(this.#stopping.signal);
  }

  /** Resolves when what is under way is decided. */
  async stop(): Promise<void> {
    this.#stopping?.abort();
    await this.#running;
    this.#stopping = undefined;
  }

  async #run(stop: AbortSignal): Promise<void> {
    const { pollMs = POLL_MS, logger } = this.#options;
    let retryMs = pollMs;
    while (!stop.aborted) {
      try {
        const entries = await this.#decideSome();
        retryMs = pollMs;
        if (entries < MAX_ENTRIES) await rest(pollMs, stop);
      } catch (error) {
        this.#rarely.say("failed", (heldBack) =>
          logger.warn({ err: error, heldBack }, "which devices get a push could not be decided yet"),
        );
        await rest(retryMs, stop);
        retryMs = Math.min(retryMs * 2, RETRY_MAX_MS);
      }
    }
  }

  /** Resolves with the number of entries that were decided. */
  async #decideSome(): Promise<number> {
    const { database, queue, meter } = this.#options;
    const { entries, lateS, verdicts } = await database.transaction(async (transaction) => {
      const taken = await this.#take(transaction);
      if (taken.jobs.length > 0) await queue.add(taken.jobs, transaction.client);
      return taken;
    });
    meter.set("pushDecisionLagSeconds", lateS);
    for (const [outcome, count] of verdicts) meter.count("pushDecisions", count, { outcome });
    return entries;
  }

  async #take(transaction: Transaction) {
    const entries = new Set<string>();
    const verdicts = new Map<Verdict | "no_device", number>();
    const jobs: PushJob[] = [];
    let lateS = 0;
    for (const row of await transaction.rows(TAKE)) {
      entries.add(row.id);
      lateS = Math.max(lateS, row.late_s);
      const facts = { read: row.read, seenHere: row.seen_here, seenAnywhere: row.seen_anywhere };
      const outcome = row.installation_id === null ? "no_device" : verdict(this.#when(row.type), facts);
      verdicts.set(outcome, (verdicts.get(outcome) ?? 0) + 1);
      if (outcome !== "push") continue;
      jobs.push({
        entryId: row.id,
        eventId: row.event_id,
        userId: row.user_id,
        installationId: row.installation_id,
        revision: row.revision,
      });
    }
    return { entries: entries.size, lateS, verdicts, jobs };
  }
}

/** About so long: nodes that were started together do not ask together for ever. */
async function rest(ms: number, stop: AbortSignal): Promise<void> {
  await sleep(ms * (0.75 + Math.random() / 2), undefined, { signal: stop }).catch(() => {}); // stopped
}
