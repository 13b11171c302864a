/**
 * Sends what waits in the queue. Several lanes take jobs side by side, on any number of nodes: look up what a job stands for now, note
 * the attempt, send, and settle all of it in one transaction.
 *
 * Each push is sent once, unless nobody can know whether it was: its node died, or FCM fell silent, after the message had left. Those are
 * sent again, recorded and counted as repeated; they carry the same tag, so that a device shows one.
 */
import { setTimeout as sleep } from "node:timers/promises";
import { type Logger, type Meter, Rarely, type TokenBucket } from "@carillon/core";
import type { Brake } from "./brake.ts";
import type { Database } from "./database.ts";
import type { Fcm, FcmResult } from "./fcm/firebase.ts";
import { type BuiltMessage, buildMessage } from "./fcm/message.ts";
import type { Pause, Pauses } from "./pauses.ts";
import type { PgBossQueue, TakenJob } from "./queue.ts";
import { count, Settlement, settle } from "./settlement.ts";
import type { BegunAttempt, Target, Targets } from "./targets.ts";

export interface SenderOptions {
  readonly queue: Pick<PgBossQueue, "take" | "keep" | "complete" | "later" | "bury" | "depth">;
  readonly database: Pick<Database, "transaction">;
  readonly targets: Targets;
  readonly pauses: Pauses;
  readonly fcm: Pick<Fcm, "send">;
  /** Of messages, for all nodes together. */
  readonly quota: TokenBucket;
  readonly brake: Brake;
  readonly meter: Pick<Meter, "count" | "set" | "observe">;
  readonly logger: Logger;
  /** Default 3. */
  readonly lanes?: number;
  /** Messages that one lane sends at a time; default, and at most, 50. */
  readonly batch?: number;
}

/** Of one lane. Small enough that what was looked up is fresh when it leaves, and that a silent answer holds few others up. */
const MAX_BATCH = 50;
const LANES = 3;
const IDLE_MS = 500;
const PAUSED_MS = 1000;
const KEEP_EVERY_MS = 5000;
const SAMPLE_EVERY_MS = 5000;
/** Many times what a bucket takes to fill, so that whoever waits for it gets it, for all that other lanes take. */
const QUOTA_PATIENCE_MS = 15_000;
const TROUBLE_MAX_MS = 15_000;
const PERSIST_FOR_MS = 60_000;
const WARN_EVERY_MS = 60_000;

export class Sender {
  readonly #options: SenderOptions;
  readonly #held = new Set<readonly TakenJob[]>();
  readonly #rarely = new Rarely(WARN_EVERY_MS);
  #lanes: Promise<void>[] = [];
  #stop = new AbortController();
  #timers: NodeJS.Timeout[] = [];
  /** Batches in a row of which nothing arrived because FCM could not be reached. */
  #troubles = 0;

  constructor(options: SenderOptions) {
    this.#options = options;
  }

  start(): void {
    const { lanes = LANES } = this.#options;
    this.#stop = new AbortController();
    this.#lanes = Array.from({ length: lanes }, () => this.#lane());
    this.#timers = [
      setInterval(() => void this.#keep(), KEEP_EVERY_MS),
      setInterval(() => void this.#sample(), SAMPLE_EVERY_MS),
    ];
  }

  /** Resolves when what is under way has been answered and settled. */
  async stop(): Promise<void> {
    this.#stop.abort();
    await Promise.all(this.#lanes);
    for (const timer of this.#timers) clearInterval(timer);
  }

  async #lane(): Promise<void> {
    while (!this.#stop.signal.aborted) {
      try {
        await this.#rest(await this.#step());
      } catch (error) {
        this.#rarely.say("failed", (heldBack) =>
          this.#options.logger.warn(
            { err: error, heldBack },
            "pushes could not be taken or settled; they are tried again",
          ),
        );
        await this.#rest(PAUSED_MS);
      }
    }
  }

  /** Resolves with how long to wait for the next one. */
  async #step(): Promise<number> {
    const { queue, pauses } = this.#options;
    const paused = await pauses.current();
    const all = paused.find(({ scope }) => scope === "all");
    if (all !== undefined && all.leftMs > 0) return Math.min(all.leftMs, PAUSED_MS);
    // After a pause one at a time, until one arrives.
    const { batch = MAX_BATCH } = this.#options;
    const jobs = await queue.take(all === undefined ? Math.min(batch, MAX_BATCH) : 1);
    if (jobs.length === 0) return IDLE_MS;
    this.#held.add(jobs);
    try {
      return await this.#handle(jobs, paused);
    } finally {
      this.#held.delete(jobs);
    }
  }

  async #handle(jobs: readonly TakenJob[], paused: readonly Pause[]): Promise<number> {
    const { targets, fcm, meter } = this.#options;
    const settlement = new Settlement(paused);
    let begun: { target: Target; attempt: BegunAttempt; built: BuiltMessage }[] = [];
    let results: FcmResult[] = [];
    try {
      if (!(await this.#quota(jobs.length))) {
        for (const job of jobs) settlement.putBack(job, Math.random() * PAUSED_MS);
      } else {
        const ready: Target[] = [];
        for (const looked of await targets.look(jobs)) {
          if ("skip" in looked) settlement.skip(looked.job, looked.skip);
          else if (!settlement.waits(looked.target)) ready.push(looked.target);
        }
        const attempts = ready.length > 0 ? await targets.begin(ready.map(({ job }) => job)) : [];
        begun = ready.map((target, i) => {
          const attempt = attempts[i] as BegunAttempt;
          return { target, attempt, built: buildMessage(target.content, target.address) };
        });
      }
    } catch (error) {
      // Nothing was sent. What can't be put back either comes back when this node has said nothing of it for long enough.
      await this.#settle(new Settlement([]).putAllBack(jobs), 0).catch(() => {});
      throw error;
    }
    if (begun.length > 0) {
      const startedAt = performance.now();
      results = await fcm.send(begun.map(({ built }) => built.message));
      meter.observe("pushBatchSeconds", (performance.now() - startedAt) / 1000);
    }
    const judged = begun.map((one, i) => ({ ...one, result: results[i] as FcmResult }));
    settlement.judge(judged, this.#options.brake);
    await this.#settle(settlement, PERSIST_FOR_MS);
    return this.#trouble(settlement);
  }

  /** False when it is better to leave them to a later time. */
  async #quota(messages: number): Promise<boolean> {
    const deadline = performance.now() + QUOTA_PATIENCE_MS;
    while (!this.#stop.signal.aborted && performance.now() < deadline) {
      const waitMs = await this.#options.quota.take(messages);
      if (waitMs <= 0) return true;
      await this.#rest(Math.min(waitMs, PAUSED_MS));
    }
    return false;
  }

  /** Again and again while Postgres is away: what was sent and isn't recorded would be sent once more. */
  async #settle(settlement: Settlement, forMs: number): Promise<void> {
    const deadline = performance.now() + forMs;
    for (let waitMs = 100; ; waitMs = Math.min(waitMs * 2, 2000)) {
      try {
        const settled = await settle(settlement, this.#options);
        count(settlement, settled, this.#options.meter);
        this.#tell(settlement);
        return;
      } catch (error) {
        if (performance.now() + waitMs > deadline) throw error;
        await sleep(waitMs);
      }
    }
  }

  #tell({ pauses }: Settlement): void {
    for (const { scope, cause, reason } of pauses) {
      this.#rarely.say(`${scope} ${cause}`, () => {
        const { logger } = this.#options;
        const fields = { scope, cause, reason };
        if (cause === "quota") logger.info(fields, "pushes wait: FCM asks for it");
        else logger.warn(fields, "pushes wait until somebody looks at this");
      });
    }
  }

  #trouble(settlement: Settlement): number {
    if (!settlement.unreachable) {
      if (settlement.reached) this.#troubles = 0;
      return 0;
    }
    this.#troubles++;
    return Math.min(IDLE_MS * 2 ** Math.min(this.#troubles, 10), TROUBLE_MAX_MS) * (0.5 + Math.random() / 2);
  }

  async #rest(ms: number): Promise<void> {
    if (ms > 0) await sleep(ms, undefined, { signal: this.#stop.signal }).catch(() => {}); // stopped
  }

  async #keep(): Promise<void> {
    const jobs = [...this.#held].flat();
    await this.#options.queue.keep(jobs).catch(() => {}); // soon again
  }

  async #sample(): Promise<void> {
    const { queue, pauses, meter } = this.#options;
    try {
      const [{ waiting, active, dead }, paused] = await Promise.all([queue.depth(), pauses.current()]);
      meter.set("pushQueue", waiting);
      meter.set("pushActive", active);
      meter.set("pushDeadLetters", dead);
      for (const cause of ["quota", "configuration", "brake"] as const) {
        meter.set("pushPaused", paused.some((pause) => pause.cause === cause) ? 1 : 0, { cause });
      }
    } catch (error) {
      this.#options.logger.debug({ err: error }, "the push queue could not be counted"); // what is worse, others say
    }
  }
}
