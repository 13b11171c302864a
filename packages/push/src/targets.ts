/** What a job stands for right now: the entry, the device, and what became of earlier attempts. And the record of each attempt. */
import type { Platform } from "@carillon/protocol";
import type { AttemptOutcome } from "./attempts.ts";
import type { Database, Transaction } from "./database.ts";
import type { MessageContent, PushAddress } from "./fcm/message.ts";
import type { TakenJob } from "./queue.ts";

/** Why a push is not sent although it was decided. */
export type SkipReason =
  | "entry_gone"
  | "read"
  | "already_sent"
  | "device_gone"
  | "device_moved"
  | "device_disabled"
  | "expired";

export interface Target {
  readonly job: TakenJob;
  readonly content: MessageContent;
  readonly address: PushAddress;
  readonly platform: Platform;
  /** Of the registration that the address is from. */
  readonly revision: string;
  readonly createdMs: number;
}

export type Looked = { readonly target: Target } | { readonly job: TakenJob; readonly skip: SkipReason };

export interface AttemptEnd {
  readonly id: string;
  readonly outcome: AttemptOutcome;
  readonly status?: number | undefined;
  readonly code?: string | undefined;
  readonly fcmName?: string | undefined;
  readonly detail?: object | undefined;
}

export interface BegunAttempt {
  readonly id: string;
  /** An earlier attempt may have arrived: its node died before it knew. */
  readonly repeated: boolean;
}

interface Row {
  readonly entry: boolean;
  readonly type: string;
  readonly title: string;
  readonly body: string;
  readonly data: Record<string, unknown>;
  readonly createdMs: number;
  readonly done: boolean;
  readonly owner: string | null;
  readonly token: string | null;
  readonly fid: string | null;
  readonly platform: Platform;
  readonly revision: string;
  readonly disabled: boolean;
  readonly unread: number;
  readonly sent: boolean;
}

const LOOK = `
  select e.id is not null as entry, e.type, coalesce(e.push ->> 'title', e.title) as title,
    coalesce(e.push ->> 'body', e.body) as body, coalesce(e.push -> 'data', e.data) as data,
    (extract(epoch from e.created_at) * 1000)::float8 as "createdMs",
    e.read_at is not null or e.archived_at is not null as done,
    d.user_id as owner, d.token, d.fid, d.platform, d.revision::text, d.disabled_at is not null as disabled,
    (select count(*) from (
      select from carillon.inbox_entry u
      where u.user_id = j.user_id and u.read_at is null and u.archived_at is null limit 1000
    ) unread)::int as unread,
    exists (
      select from carillon.push_attempt a
      where a.event_id = j.event_id and a.installation_id = j.installation_id and a.outcome = 'sent'
    ) as sent
  from unnest($1::bigint[], $2::text[], $3::text[], $4::text[])
    with ordinality j (entry_id, event_id, user_id, installation_id, n)
  left join carillon.inbox_entry e on e.id = j.entry_id
  left join carillon.device d on d.installation_id = j.installation_id
  order by j.n`;

const BEGIN = `
  with lost as (
    update carillon.push_attempt a set outcome = 'lost'
    from unnest($1::text[], $3::text[]) j (event_id, installation_id)
    where a.event_id = j.event_id and a.installation_id = j.installation_id and a.outcome = 'sending'
    returning a.event_id, a.installation_id
  )
  insert into carillon.push_attempt (event_id, user_id, installation_id, attempt, outcome, detail)
  select j.event_id, j.user_id, j.installation_id, j.attempt, 'sending',
    case when exists (select from lost l where l.event_id = j.event_id and l.installation_id = j.installation_id)
      then '{"repeated": true}'::jsonb end
  from unnest($1::text[], $2::text[], $3::text[], $4::int[]) with ordinality j (event_id, user_id, installation_id, attempt, n)
  order by j.n
  returning id, event_id, installation_id, detail is not null as repeated`;

const END = `
  update carillon.push_attempt a set outcome = j.outcome, status = j.status, error_code = j.code, fcm_name = j.fcm_name,
    detail = nullif(coalesce(a.detail, '{}') || coalesce(j.detail::jsonb, '{}'), '{}'), at = clock_timestamp()
  from unnest($1::bigint[], $2::text[], $3::int[], $4::text[], $5::text[], $6::text[])
    j (id, outcome, status, code, fcm_name, detail)
  where a.id = j.id`;

export class Targets {
  readonly #database: Pick<Database, "rows">;
  readonly #ttlMs: number;

  constructor(database: Pick<Database, "rows">, ttlMs: number) {
    this.#database = database;
    this.#ttlMs = ttlMs;
  }

  /** Asked right before sending: whose device it is now, and whether the entry was read since. */
  async look(jobs: readonly TakenJob[], nowMs = Date.now()): Promise<Looked[]> {
    const columns = (key: "entryId" | "eventId" | "userId" | "installationId") => jobs.map(({ data }) => data[key]);
    const values = [columns("entryId"), columns("eventId"), columns("userId"), columns("installationId")];
    const rows = (await this.#database.rows({ text: LOOK, values })) as Row[];
    return jobs.map((job, i) => this.#judge(job, rows[i], nowMs));
  }

  /** Before anything is sent, so that an attempt whose node dies is known to have been one. In the order of `jobs`. */
  async begin(jobs: readonly TakenJob[]): Promise<BegunAttempt[]> {
    const rows = await this.#database.rows({
      text: BEGIN,
      values: [
        jobs.map(({ data }) => data.eventId),
        jobs.map(({ data }) => data.userId),
        jobs.map(({ data }) => data.installationId),
        jobs.map(({ data, retryCount }) => (data.attempts ?? 0) + retryCount + 1),
      ],
    });
    const key = (event: string, installation: string) => JSON.stringify([event, installation]);
    const byJob = new Map(rows.map((row) => [key(row.event_id, row.installation_id), row]));
    return jobs.map(({ data }) => {
      const row = byJob.get(key(data.eventId, data.installationId));
      if (row === undefined) throw new Error("an attempt was not recorded");
      return { id: row.id, repeated: row.repeated };
    });
  }

  async end(attempts: readonly AttemptEnd[], tx: Transaction): Promise<void> {
    if (attempts.length === 0) return;
    await tx.rows({
      text: END,
      values: [
        attempts.map(({ id }) => id),
        attempts.map(({ outcome }) => outcome),
        attempts.map(({ status }) => status ?? null),
        attempts.map(({ code }) => code ?? null),
        attempts.map(({ fcmName }) => fcmName ?? null),
        attempts.map(({ detail }) => (detail === undefined ? null : JSON.stringify(detail))),
      ],
    });
  }

  /** For what was never tried. */
  async note(
    noted: readonly { readonly job: TakenJob; readonly outcome: AttemptOutcome; readonly code?: string }[],
    tx: Transaction,
  ): Promise<void> {
    if (noted.length === 0) return;
    await tx.rows({
      text: `insert into carillon.push_attempt (event_id, user_id, installation_id, attempt, outcome, error_code)
        select * from unnest($1::text[], $2::text[], $3::text[], $4::int[], $5::text[], $6::text[])`,
      values: [
        noted.map(({ job }) => job.data.eventId),
        noted.map(({ job }) => job.data.userId),
        noted.map(({ job }) => job.data.installationId),
        noted.map(({ job }) => job.data.attempts ?? 0),
        noted.map(({ outcome }) => outcome),
        noted.map(({ code }) => code ?? null),
      ],
    });
  }

  /** Only the registration that the verdict is about: a device that registered again since is another one. */
  async removeDevices(targets: readonly Target[], tx: Transaction): Promise<number> {
    if (targets.length === 0) return 0;
    const gone = await tx.rows({
      text: `delete from carillon.device d using unnest($1::text[], $2::bigint[]) j (installation_id, revision)
        where d.installation_id = j.installation_id and d.revision = j.revision returning 1`,
      values: devices(targets),
    });
    return gone.length;
  }

  async disableDevices(targets: readonly Target[], reason: string, tx: Transaction): Promise<number> {
    if (targets.length === 0) return 0;
    const disabled = await tx.rows({
      text: `update carillon.device d set disabled_at = clock_timestamp(), disabled_reason = $3
        from unnest($1::text[], $2::bigint[]) j (installation_id, revision)
        where d.installation_id = j.installation_id and d.revision = j.revision and d.disabled_at is null returning 1`,
      values: [...devices(targets), reason],
    });
    return disabled.length;
  }

  /** Which of these have registered again since they were looked up. Asked after the two above: these wait for a registration under way. */
  async renewed(targets: readonly Target[], tx: Transaction): Promise<ReadonlySet<Target>> {
    if (targets.length === 0) return new Set();
    const rows = await tx.rows({
      text: `select j.n::int - 1 as index from unnest($1::text[], $2::bigint[]) with ordinality j (installation_id, revision, n)
        join carillon.device d on d.installation_id = j.installation_id and d.revision <> j.revision`,
      values: devices(targets),
    });
    const found = new Set(rows.map(({ index }) => index));
    return new Set(targets.filter((_, index) => found.has(index)));
  }

  #judge(job: TakenJob, row: Row | undefined, nowMs: number): Looked {
    const skip = (reason: SkipReason): Looked => ({ job, skip: reason });
    if (row === undefined || !row.entry) return skip("entry_gone");
    if (row.sent) return skip("already_sent");
    if (row.done) return skip("read");
    const address = row.fid !== null ? { fid: row.fid } : row.token !== null ? { token: row.token } : undefined;
    if (row.owner === null || address === undefined) return skip("device_gone");
    if (row.owner !== job.data.userId) return skip("device_moved");
    if (row.disabled) return skip("device_disabled");
    const expiresAtMs = (job.data.sinceMs ?? row.createdMs) + this.#ttlMs;
    if (expiresAtMs <= nowMs) return skip("expired");
    const { type, title, body, data, unread, platform, revision, createdMs } = row;
    const content = { eventId: job.data.eventId, type, title, body, data, unread, expiresAtMs };
    return { target: { job, content, address, platform, revision, createdMs } };
  }
}

function devices(targets: readonly Target[]): [string[], string[]] {
  return [targets.map(({ job }) => job.data.installationId), targets.map(({ revision }) => revision)];
}
