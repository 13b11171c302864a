/** Pages of rows by their id, newest first. Ask for one row more than `limit`: it says whether there is another page. */
import { CarillonError } from "@carillon/protocol";
import type { Rows } from "./database.ts";

const LAST_ID = "9223372036854775807";

/** The id below which a page begins. Throws `INVALID_REQUEST` for what no page answered as its cursor. */
export function idBefore(cursor: string | undefined): string {
  if (cursor === undefined) return LAST_ID;
  if (!/^\d{1,18}$/.test(cursor)) throw new CarillonError("INVALID_REQUEST", "cursor is what the page before answered");
  return cursor;
}

/** The cursor of the page after these rows; null at the end. */
export function cursorAfter(rows: Rows, limit: number): string | null {
  return rows.length > limit ? rows[limit - 1]?.id : null;
}
