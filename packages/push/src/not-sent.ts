/** Where there are no credentials for Firebase: what would have been pushed is recorded, so that it can be looked at. */
import type { Logger } from "@carillon/core";
import type { Client, PushJob, PushQueue } from "./jobs.ts";

export class NotSent implements PushQueue {
  readonly #database: Client;
  readonly #logger: Logger;
  #said = false;

  constructor({ database, logger }: { database: Client; logger: Logger }) {
    this.#database = database;
    this.#logger = logger;
  }

  async add(jobs: readonly PushJob[], tx: Client = this.#database): Promise<void> {
    if (!this.#said) {
      this.#said = true;
      this.#logger.warn({}, "FIREBASE_CREDENTIALS is not set: pushes are recorded and not sent");
    }
    await tx.query({
      text: `insert into carillon.push_attempt (event_id, user_id, installation_id, attempt, outcome)
        select job.event_id, job.user_id, job.installation_id, 0, 'not_sent'
        from unnest($1::text[], $2::text[], $3::text[]) job (event_id, user_id, installation_id)
        where not exists (select from carillon.push_attempt a
          where a.event_id = job.event_id and a.installation_id = job.installation_id and a.outcome = 'not_sent')`,
      values: [
        jobs.map(({ eventId }) => eventId),
        jobs.map(({ userId }) => userId),
        jobs.map(({ installationId }) => installationId),
      ],
    });
  }
}
