/** What becomes of a batch: collected while it is judged, then done in one transaction. */
import type { Meter } from "@carillon/core";
import type { AttemptOutcome } from "./attempts.ts";
import { backoffMs } from "./backoff.ts";
import type { Brake } from "./brake.ts";
import type { Database } from "./database.ts";
import { classify, type FcmFailure, type FcmVerdict } from "./fcm/classify.ts";
import type { FcmResult } from "./fcm/firebase.ts";
import type { BuiltMessage } from "./fcm/message.ts";
import type { Pause, PauseCause, PauseScope, Pauses } from "./pauses.ts";
import type { PgBossQueue, TakenJob } from "./queue.ts";
import type { AttemptEnd, BegunAttempt, SkipReason, Target, Targets } from "./targets.ts";

interface Judged {
  readonly target: Target;
  readonly attempt: BegunAttempt;
  readonly built: BuiltMessage;
  readonly result: FcmResult;
}

/** A target whose address is good for nothing any more, says FCM. */
interface Refused {
  readonly target: Target;
  readonly attemptId: string;
}

interface WantedPause {
  readonly scope: PauseScope;
  readonly cause: PauseCause;
  readonly reason: string;
  readonly forMs?: number;
}

/** FCM's advice for a 429 that names no time. */
const QUOTA_PAUSE_MS = 60_000;
const NOT_REACHED = new Set(["network", "unavailable", "internal"]);

export class Settlement {
  readonly ends: AttemptEnd[] = [];
  readonly notes: { readonly job: TakenJob; readonly outcome: AttemptOutcome; readonly code: string }[] = [];
  readonly done: TakenJob[] = [];
  readonly later: { readonly job: TakenJob; readonly delayMs: number; readonly attempted: boolean }[] = [];
  readonly buried: TakenJob[] = [];
  readonly dead: Refused[] = [];
  readonly disabled: Refused[] = [];
  readonly pauses: WantedPause[] = [];
  readonly over = new Set<PauseScope>();
  /** For the counters: what became of each job, and how long each that arrived had waited. */
  readonly outcomes: string[] = [];
  readonly delaysMs: number[] = [];
  repeated = 0;
  readonly #paused: readonly Pause[];
  #answered = 0;
  #unreachable = 0;

  constructor(paused: readonly Pause[]) {
    this.#paused = paused;
  }

  /** Nothing arrived, because FCM can't be reached. */
  get unreachable(): boolean {
    return this.#unreachable > 0 && this.#answered === 0;
  }

  get reached(): boolean {
    return this.#answered > 0;
  }

  putBack(job: TakenJob, delayMs: number): void {
    this.later.push({ job, delayMs, attempted: false });
  }

  putAllBack(jobs: readonly TakenJob[]): this {
    for (const job of jobs) this.putBack(job, 1000 + Math.random() * 1000);
    return this;
  }

  skip(job: TakenJob, reason: SkipReason): void {
    this.outcomes.push(reason);
    if (reason === "already_sent") {
      this.done.push(job);
      return;
    }
    const failed = reason === "expired";
    this.notes.push({ job, outcome: failed ? "failed" : "skipped", code: reason });
    (failed ? this.buried : this.done).push(job);
  }

  /** Whether devices of this platform have to wait; then it is put back. */
  waits({ job, platform }: Target): boolean {
    const pause = this.#paused.find(({ scope, leftMs }) => scope === platform && leftMs > 0);
    if (pause !== undefined) this.putBack(job, pause.leftMs * (1 + Math.random() / 5));
    return pause !== undefined;
  }

  judge(batch: readonly Judged[], brake: Brake): void {
    const verdicts = batch.map(({ result }) => ("failure" in result ? classify(result.failure) : undefined));
    const looksDead = verdicts.map((verdict) => verdict?.action === "delete");
    const braked = brake.trips(looksDead);
    if (braked) {
      const dead = looksDead.filter(Boolean).length;
      const reason = `${dead} of ${batch.length} devices look dead, which is more likely a wrong project`;
      this.pauses.push({ scope: "all", cause: "brake", reason });
    }
    batch.forEach((one, i) => {
      const { result } = one;
      if (one.attempt.repeated) this.repeated++;
      const verdict = verdicts[i];
      if ("failure" in result && verdict !== undefined) this.#failed(one, result.failure, verdict, braked);
      else if ("name" in result) this.#sent(one, result.name);
    });
  }

  #sent({ target, attempt, built }: Judged, fcmName: string): void {
    this.#answered++;
    this.outcomes.push("sent");
    this.delaysMs.push(Date.now() - target.createdMs);
    this.done.push(target.job);
    const detail = built.shortened === undefined ? undefined : { shortened: built.shortened };
    this.ends.push({ id: attempt.id, outcome: "sent", status: 200, fcmName, detail });
    for (const { scope, leftMs } of this.#paused) {
      if (leftMs <= 0 && (scope === "all" || scope === target.platform)) this.over.add(scope);
    }
  }

  #failed(
    { target, attempt }: Judged,
    failure: FcmFailure,
    { reason, action, uncertain }: FcmVerdict,
    braked: boolean,
  ): void {
    const { job, platform, content } = target;
    if (NOT_REACHED.has(reason)) this.#unreachable++;
    else this.#answered++;
    this.outcomes.push(reason);
    const { status, fcmCode, message, retryAfterS, fields } = failure;
    const detail = {
      message,
      ...(fcmCode !== undefined && { fcmCode }),
      ...(fields !== undefined && { fields }),
      ...(retryAfterS !== undefined && { retryAfterS }),
      ...(uncertain && { uncertain }),
      ...(braked && action === "delete" && { brake: true }),
    };
    const end = (outcome: AttemptOutcome) => this.ends.push({ id: attempt.id, outcome, status, code: reason, detail });
    if (action === "delete" && !braked) {
      this.dead.push({ target, attemptId: attempt.id });
      this.done.push(job);
      end("device_removed");
      return;
    }
    if (action === "disable") {
      this.disabled.push({ target, attemptId: attempt.id });
      this.done.push(job);
      end("device_disabled");
      return;
    }
    if (action === "pause" || action === "pause-platform")
      this.#pause(action === "pause" ? "all" : platform, failure, reason);
    const delayMs = backoffMs(job.data.attempts ?? 0, retryAfterS);
    if (action === "fail" || action === "delete" || Date.now() + delayMs >= content.expiresAtMs) {
      this.buried.push(job);
      end("failed");
      return;
    }
    this.later.push({ job, delayMs, attempted: true });
    end("retry");
  }

  #pause(scope: PauseScope, { message, retryAfterS }: FcmFailure, reason: FcmVerdict["reason"]): void {
    if (this.pauses.some((pause) => pause.scope === scope)) return;
    const quota = reason === "quota";
    const forMs = quota ? Math.max((retryAfterS ?? QUOTA_PAUSE_MS / 1000) * 1000, 1000) : undefined;
    this.pauses.push({
      scope,
      cause: quota ? "quota" : "configuration",
      reason: `${reason}: ${message}`,
      ...(forMs !== undefined && { forMs }),
    });
  }
}

interface Parts {
  readonly queue: Pick<PgBossQueue, "complete" | "later" | "bury">;
  readonly database: Pick<Database, "transaction">;
  readonly targets: Targets;
  readonly pauses: Pauses;
}

export interface Settled {
  readonly removed: number;
  readonly disabled: number;
}

/** Doing it twice is doing it once, so that it can be tried until it is known to be done. */
export async function settle(settlement: Settlement, { queue, database, targets, pauses }: Parts): Promise<Settled> {
  const { ends, notes, done, later, buried, dead, disabled } = settlement;
  // First, so that the other nodes stop soon.
  for (const { scope, cause, reason, forMs } of settlement.pauses) await pauses.pause(scope, cause, reason, forMs);
  const settled = await database.transaction(async (transaction) => {
    const counts = {
      removed: await targets.removeDevices(dead.map(targetOf), transaction),
      disabled: await targets.disableDevices(disabled.map(targetOf), "SENDER_ID_MISMATCH", transaction),
    };
    // Those have another address now, which is tried next: the push is for the device.
    const renewed = await targets.renewed([...dead, ...disabled].map(targetOf), transaction);
    const again = [...dead, ...disabled].filter(({ target }) => renewed.has(target));
    const attempts = new Set(again.map(({ attemptId }) => attemptId));
    const jobs = new Set(again.map(({ target }) => target.job));
    await targets.end(
      ends.map((end) => (attempts.has(end.id) ? { ...end, outcome: "retry" } : end)),
      transaction,
    );
    await targets.note(notes, transaction);
    await queue.complete(
      done.filter((job) => !jobs.has(job)),
      transaction.client,
    );
    const atOnce = [...jobs].map((job) => ({ job, delayMs: 0, attempted: true }));
    await queue.later([...later, ...atOnce], transaction.client);
    await queue.bury(buried, transaction.client);
    return counts;
  });
  for (const scope of settlement.over) {
    if (!settlement.pauses.some((pause) => pause.scope === scope)) await pauses.end(scope);
  }
  return settled;
}

export function count(
  settlement: Settlement,
  { removed, disabled }: Settled,
  meter: Pick<Meter, "count" | "observe">,
): void {
  const outcomes = new Map<string, number>();
  for (const outcome of settlement.outcomes) outcomes.set(outcome, (outcomes.get(outcome) ?? 0) + 1);
  for (const [outcome, n] of outcomes) meter.count("pushes", n, { outcome });
  for (const delayMs of settlement.delaysMs) meter.observe("pushDelaySeconds", delayMs / 1000);
  if (settlement.repeated > 0) meter.count("pushesRepeated", settlement.repeated);
  if (removed > 0) meter.count("devicesRemoved", removed, { reason: "unregistered" });
  if (disabled > 0) meter.count("devicesRemoved", disabled, { reason: "other_sender" });
}

function targetOf({ target }: Refused): Target {
  return target;
}
