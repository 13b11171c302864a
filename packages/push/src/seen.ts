/**
 * What clients report as seen, on its way to Postgres: many reports in one statement, since a notification to everybody is seen by
 * everybody in the same second. What is lost here, by a crash or a bound, costs a push too many and never one too few.
 */
import { type Logger, type Meter, Rarely } from "@carillon/core";
import type { Database } from "./database.ts";

export interface SeenOptions {
  readonly database: Pick<Database, "rows">;
  readonly meter: Pick<Meter, "count">;
  readonly logger: Logger;
  /** How long reports wait for company; default 100. */
  readonly flushMs?: number;
  /** Most that wait; default 20,000. */
  readonly maxWaiting?: number;
}

interface Report {
  readonly eventId: string;
  readonly userId: string;
  readonly installationId: string;
}

const MAX_PER_STATEMENT = 2_000;
const FLUSH_MS = 100;
const MAX_WAITING = 20_000;
const RETRY_MS = 1_000;
const WARN_EVERY_MS = 60_000;

export class SeenReports {
  readonly #options: SeenOptions;
  readonly #flushMs: number;
  readonly #maxWaiting: number;
  readonly #rarely = new Rarely(WARN_EVERY_MS);
  /** By their whole content: a client may say it again and again. */
  #waiting = new Map<string, Report>();
  #timer: NodeJS.Timeout | undefined;
  #flushing: Promise<boolean> | undefined;
  #stopped = false;

  constructor(options: SeenOptions) {
    this.#options = options;
    this.#flushMs = options.flushMs ?? FLUSH_MS;
    this.#maxWaiting = options.maxWaiting ?? MAX_WAITING;
  }

  /** The user's client with this installation id shows these events, in the foreground. */
  report(userId: string, installationId: string, eventIds: readonly string[]): void {
    for (const eventId of eventIds) {
      if (this.#waiting.size >= this.#maxWaiting) {
        this.#options.meter.count("seenReports", 1, { outcome: "dropped" });
        continue;
      }
      this.#waiting.set(JSON.stringify([userId, installationId, eventId]), { userId, installationId, eventId });
    }
    this.#schedule(this.#flushMs);
  }

  /** Writes what waits, if Postgres takes it now. Nothing may be reported after that. */
  async stop(): Promise<void> {
    this.#stopped = true;
    clearTimeout(this.#timer);
    let worked = (await this.#flushing) !== false;
    while (worked && this.#waiting.size > 0) worked = await this.#write();
  }

  #schedule(ms: number): void {
    const busy = this.#timer !== undefined || this.#flushing !== undefined;
    if (busy || this.#stopped || this.#waiting.size === 0) return;
    this.#timer = setTimeout(() => {
      this.#timer = undefined;
      this.#flushing = this.#write();
      void this.#flushing.then((worked) => {
        this.#flushing = undefined;
        const full = this.#waiting.size >= MAX_PER_STATEMENT;
        this.#schedule(!worked ? RETRY_MS : full ? 0 : this.#flushMs);
      });
    }, ms);
  }

  /** Resolves with whether Postgres took them. */
  async #write(): Promise<boolean> {
    const batch = [...this.#waiting].slice(0, MAX_PER_STATEMENT);
    const reports = batch.map(([, report]) => report);
    try {
      // Only of the user's own entries, and only while it matters.
      const rows = await this.#options.database.rows({
        text: `insert into carillon.push_seen (event_id, user_id, installation_id)
          select e.event_id, e.user_id, report.installation_id
          from unnest($1::text[], $2::text[], $3::text[]) report (event_id, user_id, installation_id)
          join carillon.inbox_entry e using (event_id, user_id)
          where e.push_due_at is not null
          on conflict do nothing returning 1`,
        values: [
          reports.map(({ eventId }) => eventId),
          reports.map(({ userId }) => userId),
          reports.map(({ installationId }) => installationId),
        ],
      });
      this.#options.meter.count("seenReports", rows.length, { outcome: "recorded" });
      this.#options.meter.count("seenReports", batch.length - rows.length, { outcome: "ignored" });
      for (const [key] of batch) this.#waiting.delete(key);
      return true;
    } catch (error) {
      this.#rarely.say("failed", (heldBack) =>
        this.#options.logger.warn({ err: error, heldBack }, "reports of what was seen could not be written yet"),
      );
      return false;
    }
  }
}
