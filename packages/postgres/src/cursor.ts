/** How far the outbox is read: see migrations/0001_outbox.sql. Every change names the window that it replaces, so that of two bridges one wins. */
import type { FencePosition, Log } from "@carillon/core";
import type { Query, Row } from "./connection.ts";

export interface Cursor {
  readonly window: number;
  readonly lo: string;
  readonly hi: string;
  /** Transactions from `loXid` on have only ids above `loId`. */
  readonly loId: number;
  readonly loXid: string;
}

export type GapCause = "restored" | "fence_ahead";

export const FENCE_SOURCE = "outbox";
const COLUMNS = "window_number, lo, hi, lo_id, lo_xid";
/** Whatever normal transaction there is, it is not visible in this. */
const NOTHING = "3:3:";
/** Moving a restored outbox into this cluster's transactions may be much work, once. */
const RESET_SILENCE_MS = 120_000;

/** Resolves with the cursor as it is and up to where in its window the log has it. `tellGap` is called before a jump is made. */
export async function openCursor(
  query: Query,
  log: Pick<Log, "fence">,
  tellGap: (position: FencePosition, cause: GapCause) => Promise<void>,
): Promise<{ cursor: Cursor; from: number }> {
  // Before the cursor, which moves before the fence does: the other way round another bridge's progress would look like a lost tail.
  const fence = await log.fence(FENCE_SOURCE);
  const [row] = await query(
    `select ${COLUMNS}, c.system_identifier <> s.system_identifier
       or pg_snapshot_xmax(c.hi) > pg_snapshot_xmax(pg_current_snapshot()) or c.hi_id > q.last_value
     from carillon.cursor c, pg_control_system() s, carillon.outbox_id_seq q where c.name = 'outbox'`,
  );
  if (row === undefined)
    throw new Error("carillon.cursor has lost its row; restore it as migrations/0001_outbox.sql makes it");
  const cursor = toCursor(row);
  if (row[5] === "t") {
    const window = Math.max(cursor.window, fence?.[0] ?? 0) + 1;
    await tellGap([window, 0], "restored");
    return { cursor: await reset(query, cursor, window), from: 0 };
  }
  if (fence !== undefined && fence[0] > cursor.window) {
    await tellGap([fence[0] + 1, 0], "fence_ahead");
    return { cursor: await jump(query, cursor, fence[0] + 1), from: 0 };
  }
  return { cursor, from: fence?.[0] === cursor.window ? fence[1] : 0 };
}

/** Whether rows are committed that `hi` does not see, and the last id given out before anything else is asked. */
export async function poll(query: Query, cursor: Cursor): Promise<{ waiting: boolean; lastId: string }> {
  const [row] = await query(
    `select (select case when is_called then last_value else 0 end from carillon.outbox_id_seq),
       exists (select from carillon.outbox where xid >= pg_snapshot_xmax($1::pg_snapshot))
       or exists (select from carillon.outbox where xid = any (array(select pg_snapshot_xip($1::pg_snapshot))))`,
    [cursor.hi],
    { name: "poll" },
  );
  return { waiting: row?.[1] === "t", lastId: row?.[0] ?? "0" };
}

/** Closes the window and opens the next. `lastId` MUST have been read before. `undefined` when another bridge was quicker. */
export async function advance(query: Query, cursor: Cursor, lastId: string): Promise<Cursor | undefined> {
  const [row] = await query(
    `update carillon.cursor set window_number = window_number + 1, lo = hi, lo_id = hi_id, lo_xid = hi_xid,
       hi = pg_current_snapshot(), hi_id = $2, hi_xid = pg_current_xact_id(), updated_at = clock_timestamp()
     where name = 'outbox' and window_number = $1 returning ${COLUMNS}`,
    [cursor.window, lastId],
    { name: "advance" },
  );
  return row && toCursor(row);
}

export async function reload(query: Query): Promise<Cursor> {
  const [row] = await query(`select ${COLUMNS} from carillon.cursor where name = 'outbox'`, [], { name: "reload" });
  if (row === undefined) throw new Error("carillon.cursor has lost its row");
  return toCursor(row);
}

/** The log has windows that this database does not know: it lost its tail. What it has not seen is published with numbers above them. */
async function jump(query: Query, cursor: Cursor, window: number): Promise<Cursor> {
  const { lastId } = await poll(query, cursor);
  const [row] = await query(
    `update carillon.cursor set window_number = $2, hi = pg_current_snapshot(), hi_id = $3, hi_xid = pg_current_xact_id(),
       updated_at = clock_timestamp()
     where name = 'outbox' and window_number = $1 returning ${COLUMNS}`,
    [cursor.window, window, lastId],
  );
  return row ? toCursor(row) : reload(query);
}

/**
 * Another cluster's snapshots and transaction ids came with a dump. All rows get a transaction id of this cluster and are published: which
 * of them were in the log already can't be told from those that were written here since.
 */
async function reset(query: Query, cursor: Cursor, window: number): Promise<Cursor> {
  // Before the transaction that rewrites the rows: it must not be visible in this.
  const [before] = await query("select pg_current_snapshot()");
  try {
    await query("begin");
    await query("set local statement_timeout = 0");
    const [mine] = await query("select window_number from carillon.cursor where name = 'outbox' for update");
    if (Number(mine?.[0]) === cursor.window) {
      await query("update carillon.outbox set xid = pg_current_xact_id()", undefined, { silenceMs: RESET_SILENCE_MS });
      await query(
        `update carillon.cursor set window_number = $1, lo = $2::pg_snapshot, hi = $3::pg_snapshot, lo_id = 0, hi_id = 0, lo_xid = '0', hi_xid = '0',
           system_identifier = s.system_identifier, updated_at = clock_timestamp()
         from pg_control_system() s where name = 'outbox'`,
        [window, NOTHING, before?.[0]],
      );
    }
    await query("commit");
  } catch (error) {
    await query("rollback").catch(() => {});
    throw error;
  }
  return reload(query);
}

function toCursor(row: Row): Cursor {
  return {
    window: Number(row[0]),
    lo: String(row[1]),
    hi: String(row[2]),
    loId: Number(row[3]),
    loXid: String(row[4]),
  };
}
