/** What a user's inbox holds, newest first, and what its user did with it. Each change refreshes `/notifications` on all their devices. */
import { parseJson } from "@carillon/protocol";
import type { Database } from "./database.ts";
import { cursorAfter, idBefore } from "./pages.ts";

export interface InboxQuery {
  /** Of the page before. */
  readonly cursor?: string | undefined;
  readonly limit: number;
  readonly read?: boolean | undefined;
  readonly archived?: boolean | undefined;
  readonly type?: string | undefined;
}

export interface InboxEntry {
  /** Of the event: what refreshes carry as `payload.eventId`, and pushes as `notificationId`. */
  readonly id: string;
  readonly type: string;
  readonly title: string;
  readonly body: string;
  readonly data: unknown;
  readonly createdAt: string;
  readonly readAt: string | null;
  readonly archivedAt: string | null;
}

export interface InboxPage {
  readonly entries: InboxEntry[];
  /** For the next page; null at the end. */
  readonly cursor: string | null;
}

export interface InboxCounts {
  /** Neither read nor archived: what a badge shows. */
  readonly unread: number;
  /** Not archived. */
  readonly total: number;
  readonly archived: number;
}

/** The scope of the refresh that tells a user's devices. */
export const INBOX_CHANGED = "INBOX_CHANGED";

const CHANGES = {
  read: { set: "read_at = clock_timestamp()", where: "read_at is null" },
  unread: { set: "read_at = null", where: "read_at is not null" },
  archive: { set: "archived_at = clock_timestamp()", where: "archived_at is null" },
} as const;
export type InboxChange = keyof typeof CHANGES;

export class Inbox {
  readonly #database: Pick<Database, "rows">;

  constructor(database: Pick<Database, "rows">) {
    this.#database = database;
  }

  async list(user: string, { cursor, limit, read, archived, type }: InboxQuery): Promise<InboxPage> {
    const rows = await this.#database.rows({
      text: `select id, event_id, type, title, body, data::text, created_at, read_at, archived_at
        from carillon.inbox_entry
        where user_id = $1 and id < $2
          and ($3::boolean is null or $3 = (read_at is not null))
          and ($4::boolean is null or $4 = (archived_at is not null))
          and ($5::text is null or type = $5)
        order by id desc limit $6`,
      values: [user, idBefore(cursor), read ?? null, archived ?? null, type ?? null, limit + 1],
    });
    const entries = rows.slice(0, limit).map(
      (row): InboxEntry => ({
        id: row.event_id,
        type: row.type,
        title: row.title,
        body: row.body,
        data: parseJson(row.data),
        createdAt: row.created_at.toISOString(),
        readAt: row.read_at?.toISOString() ?? null,
        archivedAt: row.archived_at?.toISOString() ?? null,
      }),
    );
    return { entries, cursor: cursorAfter(rows, limit) };
  }

  async counts(user: string): Promise<InboxCounts> {
    const [row] = await this.#database.rows({
      text: `select count(*) filter (where archived_at is null and read_at is null)::int as unread,
          count(*) filter (where archived_at is null)::int as total,
          count(*) filter (where archived_at is not null)::int as archived
        from carillon.inbox_entry where user_id = $1`,
      values: [user],
    });
    return { unread: row?.unread, total: row?.total, archived: row?.archived };
  }

  /** Resolves with how many changed; ids of others' entries, and unknown ones, change nothing. */
  change(user: string, change: InboxChange, ids: readonly string[]): Promise<number> {
    const { set, where } = CHANGES[change];
    return this.#update(user, set, `${where} and event_id = any ($2)`, [ids]);
  }

  readAll(user: string): Promise<number> {
    return this.#update(user, CHANGES.read.set, `${CHANGES.read.where} and archived_at is null`, []);
  }

  /** In one statement, so that nothing changes untold. */
  async #update(user: string, set: string, where: string, values: readonly unknown[]): Promise<number> {
    const [row] = await this.#database.rows({
      text: `with changed as (
          update carillon.inbox_entry set ${set} where user_id = $1 and ${where} returning 1
        ), told as (
          select carillon.refresh('notifications', '${INBOX_CHANGED}', jsonb_build_object('users', jsonb_build_array($1::text)))
          from (select from changed limit 1) something
        )
        select (select count(*) from changed)::int as changed, (select count(told) from told) as told`,
      values: [user, ...values],
    });
    return row?.changed;
  }
}
