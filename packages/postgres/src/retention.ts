import type { Query } from "./connection.ts";
import type { Cursor } from "./cursor.ts";

const BATCH = 2_000;
const FROM_THE_START_MS = 600_000;

/** Deletes rows that are in the log, a bounded batch at a time. */
export class Retention {
  readonly #query: Query;
  /** All published rows up to here are gone, but for those of transactions that were late. */
  #sweptId = 0;
  #startedAt = performance.now();

  constructor(query: Query) {
    this.#query = query;
  }

  /** Resolves with whether there may be more. Never touches what `lo` does not see: that may not be in the log yet. */
  async sweep(cursor: Cursor): Promise<boolean> {
    if (performance.now() - this.#startedAt > FROM_THE_START_MS) {
      this.#sweptId = 0;
      this.#startedAt = performance.now();
    }
    const after = this.#sweptId;
    // What fails is left for the next time from the start: tried again at once, it would fail again.
    this.#sweptId = cursor.loId;
    const [row] = await this.#query(
      `with gone as (
         delete from carillon.outbox where id = any (array(
           select id from carillon.outbox
           where id > $1 and id <= $2 and pg_visible_in_snapshot(xid, $3::pg_snapshot) order by id limit ${BATCH}
         )) returning id
       ) select count(*), max(id) from gone`,
      [after, cursor.loId, cursor.lo],
      { name: "sweep" },
    );
    const more = Number(row?.[0]) === BATCH;
    if (more) this.#sweptId = Number(row?.[1]);
    return more;
  }
}
