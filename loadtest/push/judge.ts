/** What a run must have come to, by what Postgres has, what the stand-in heard and what was on screens. */
import type { FcmRequest } from "@carillon/testkit";
import type { Phone } from "./phones.ts";

export interface Entry {
  readonly event_id: string;
  readonly user_id: string;
  readonly created_ms: number;
}

export interface AttemptRow {
  readonly event_id: string;
  readonly installation_id: string;
  readonly outcome: string;
  readonly error_code: string | null;
  readonly detail: { readonly uncertain?: boolean; readonly repeated?: boolean } | null;
}

export interface Evidence {
  /** Events that were answered 202, or committed. */
  readonly accepted: ReadonlySet<string>;
  readonly entries: readonly Entry[];
  readonly attempts: readonly AttemptRow[];
  readonly requests: readonly FcmRequest[];
  readonly phones: readonly Phone[];
}

export interface Verdict {
  readonly faults: readonly string[];
  /** For each (event, device) that was to be reached. */
  readonly expected: number;
  readonly shown: number;
  readonly pushed: number;
  /** Shown and pushed: the report of the screen came too late. */
  readonly both: number;
  /** Pushed more than once, each in a case that is documented and on record. */
  readonly repeated: number;
  readonly devicesRemoved: number;
}

/** Clocks of processes on one machine, and what takes its time between a question and its answer. */
const SLACK_MS = 1500;

export function judge({ accepted, entries, attempts, requests, phones }: Evidence): Verdict {
  const faults: string[] = [];
  const pair = (event: string, installation: string) => `${event} ${installation}`;
  const recorded = Map.groupBy(attempts, (row) => pair(row.event_id, row.installation_id));
  const arrived = Map.groupBy(
    requests.filter((request) => request.accepted),
    ({ target, message }) => pair(message.data?.notificationId ?? "", target.replace(/^token-/, "")),
  );
  const stored = new Set(entries.map(({ event_id }) => event_id));
  for (const event of accepted) if (!stored.has(event)) faults.push(`${event} was accepted and is in no inbox`);

  let [expected, shown, pushed, both] = [0, 0, 0, 0];
  for (const { event_id: event, user_id: user, created_ms: at } of entries) {
    for (const phone of phones) {
      const owned = phone.owners.some(
        (owner) => owner.user === user && owner.fromMs + SLACK_MS < at && at + SLACK_MS < owner.toMs,
      );
      // A device that changes hands or leaves soon after may rightly get nothing.
      const stays = phone.owner === user;
      if (!owned || !stays) continue;
      const key = pair(event, phone.installationId);
      const wasShown = phone.shown.has(event);
      const wasPushed = arrived.has(key);
      expected++;
      if (wasShown) shown++;
      if (wasPushed) pushed++;
      if (wasShown && wasPushed) both++;
      if (wasShown || wasPushed) continue;
      const record = recorded.get(key)?.at(-1);
      const gone = phone.kind === "dead" && isGone(record);
      if (!gone) faults.push(`${event} reached ${phone.kind} ${phone.installationId} neither way: ${describe(record)}`);
    }
  }

  let repeated = 0;
  const recipients = Map.groupBy(entries, ({ event_id }) => event_id);
  for (const [key, found] of arrived) {
    const [event = "", installation = ""] = key.split(" ");
    const phone = phones.find(({ installationId }) => installationId === installation);
    const mayHave = (recipients.get(event) ?? []).some(({ user_id: user, created_ms: at }) =>
      phone?.owners.some((owner) => owner.user === user && at < owner.toMs + SLACK_MS),
    );
    if (!mayHave) faults.push(`${event} went to ${installation}, which is not its user's`);
    if (found.length === 1) continue;
    const rows = recorded.get(key) ?? [];
    const documented = rows.some(({ outcome, detail }) => outcome === "lost" || detail?.uncertain || detail?.repeated);
    if (documented) repeated += found.length - 1;
    else faults.push(`${event} went ${found.length} times to ${installation}, and no record says why`);
  }
  const devicesRemoved = attempts.filter(({ outcome }) => outcome === "device_removed").length;
  return { faults, expected, shown, pushed, both, repeated, devicesRemoved };
}

/** Removed by this very push, or before it. */
function isGone(record: AttemptRow | undefined): boolean {
  return record === undefined || record.outcome === "device_removed" || record.error_code === "device_gone";
}

function describe(row: AttemptRow | undefined): string {
  return row === undefined ? "no record" : `${row.outcome} ${row.error_code ?? ""}`.trim();
}
