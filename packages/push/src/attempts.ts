/** The record of pushes, for operators: what became of each attempt, with FCM's own words. */
import type { Database } from "./database.ts";
import { cursorAfter, idBefore } from "./pages.ts";

export interface AttemptQuery {
  readonly eventId?: string | undefined;
  readonly userId?: string | undefined;
  readonly installationId?: string | undefined;
  readonly outcome?: AttemptOutcome | undefined;
  /** Of the page before. */
  readonly cursor?: string | undefined;
  readonly limit: number;
}

/**
 * `sending`: under way. `sent`: FCM took it. `retry`: it will be tried again. `failed`: given up, in the dead letters. `skipped`: of no use
 * any more. `lost`: its node died, so nobody knows. `not_sent`: there are no credentials.
 */
export const ATTEMPT_OUTCOMES = [
  "sending",
  "sent",
  "retry",
  "failed",
  "skipped",
  "device_removed",
  "device_disabled",
  "lost",
  "not_sent",
  "test",
] as const;
export type AttemptOutcome = (typeof ATTEMPT_OUTCOMES)[number];

export interface PushAttempt {
  readonly eventId: string;
  readonly userId: string;
  readonly installationId: string;
  readonly attempt: number;
  readonly outcome: string;
  /** HTTP status of FCM's answer. */
  readonly status: number | null;
  /** A row of the classification, or why it was skipped. */
  readonly reason: string | null;
  readonly fcmName: string | null;
  readonly detail: Readonly<Record<string, unknown>> | null;
  readonly at: string;
}

export interface AttemptPage {
  /** Newest first. */
  readonly attempts: readonly PushAttempt[];
  /** For the next page; null at the end. */
  readonly cursor: string | null;
}

export class Attempts {
  readonly #database: Pick<Database, "rows">;

  constructor(database: Pick<Database, "rows">) {
    this.#database = database;
  }

  async list({ eventId, userId, installationId, outcome, cursor, limit }: AttemptQuery): Promise<AttemptPage> {
    const rows = await this.#database.rows({
      text: `select * from carillon.push_attempt
        where id < $1 and ($2::text is null or event_id = $2)
          and ($3::text is null or user_id = $3) and ($4::text is null or installation_id = $4)
          and ($5::text is null or outcome = $5)
        order by id desc limit $6`,
      values: [idBefore(cursor), eventId ?? null, userId ?? null, installationId ?? null, outcome ?? null, limit + 1],
    });
    const attempts = rows.slice(0, limit).map(
      (row): PushAttempt => ({
        eventId: row.event_id,
        userId: row.user_id,
        installationId: row.installation_id,
        attempt: row.attempt,
        outcome: row.outcome,
        status: row.status,
        reason: row.error_code,
        fcmName: row.fcm_name,
        detail: row.detail,
        at: row.at.toISOString(),
      }),
    );
    return { attempts, cursor: cursorAfter(rows, limit) };
  }
}
