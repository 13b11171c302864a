/** What the decision hands to the sender: one event for one device. */
import type pg from "pg";

export interface PushJob {
  /** `carillon.inbox_entry.id` */
  readonly entryId: string;
  readonly eventId: string;
  readonly userId: string;
  readonly installationId: string;
  /** Of the device's registration when this was decided; what is learnt about another one is not about this. */
  readonly revision: string;
}

/** What of a connection to Postgres is used. */
export type Client = Pick<pg.ClientBase, "query">;

export interface PushQueue {
  /**
   * Ids come from event and installation alone: a job that was added before, whatever became of it, is not added again. With `tx` the
   * jobs are there if and only if that transaction commits.
   */
  add(jobs: readonly PushJob[], tx?: Client): Promise<void>;
}
