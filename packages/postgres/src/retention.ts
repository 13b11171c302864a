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
    const [row] = await this.#query(
      `with gone as (
         delete from carillon.outbox where id = any (array(
           select id from carillon.outbox
           where id > $1 and id <= $2 and pg_visible_in_snapshot(xid, $3::pg_snapshot) order by id limit ${BATCH}
         )) returning id
       ) select count(*), max(id) from gone`,
      [this.#sweptId, cursor.loId, cursor.lo],
      { name: "sweep" },
    );
    if (row?.[1] != null) this.#sweptId = Number(row[1]);
    return Number(row?.[0]) === BATCH;
  }
}
