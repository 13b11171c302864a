/** All that a node needs to send pushes, put together: FCM, the queue, and, with the role `push`, a sender. */
import { setTimeout as sleep } from "node:timers/promises";
import { type Logger, type Meter, Rarely, type TokenBucket } from "@carillon/core";
import { Brake } from "./brake.ts";
import type { Database, Pool } from "./database.ts";
import type { FirebaseAccount } from "./fcm/account.ts";
import { FirebaseFcm } from "./fcm/firebase.ts";
import { type Pause, Pauses } from "./pauses.ts";
import { PgBossQueue } from "./queue.ts";
import { Sender } from "./sender.ts";
import { Targets } from "./targets.ts";
import { Trial } from "./trial.ts";

export interface SendingOptions {
  readonly account: FirebaseAccount;
  readonly pool: Pool;
  readonly database: Database;
  /** Whether this node takes pushes from the queue. */
  readonly sends: boolean;
  /** Whether pg-boss may bring its schema up to date. */
  readonly migrate: boolean;
  readonly quota: TokenBucket;
  readonly perSecond: number;
  readonly ttlS: number;
  readonly maxDeadPercent: number;
  readonly meter: Meter;
  readonly logger: Logger;
}

const RETRY_MAX_MS = 5000;
const WARN_EVERY_MS = 60_000;

export class Sending {
  readonly queue: PgBossQueue;
  readonly trial: Trial;
  readonly #fcm: FirebaseFcm;
  readonly #pauses: Pauses;
  readonly #sender: Sender | undefined;
  readonly #logger: Logger;
  readonly #rarely = new Rarely(WARN_EVERY_MS);
  readonly #stopping = new AbortController();
  #starting: Promise<boolean> = Promise.resolve(false);

  constructor(options: SendingOptions) {
    const { account, pool, database, sends, migrate, perSecond, ttlS, maxDeadPercent, logger } = options;
    this.#logger = logger;
    this.#fcm = new FirebaseFcm(account);
    this.#pauses = new Pauses(database);
    this.queue = new PgBossQueue({ pool, database, migrate, supervise: sends, logger });
    this.trial = new Trial(database, this.#fcm);
    if (!sends) return;
    this.#sender = new Sender({
      ...options,
      queue: this.queue,
      targets: new Targets(database, ttlS * 1000),
      pauses: this.#pauses,
      fcm: this.#fcm,
      brake: new Brake({ maxPercent: maxDeadPercent }),
      // What is asked of the quota at once must be less than it ever grants.
      batch: perSecond,
    });
  }

  /** Resolves once the queue can be used, with false when it was stopped before that. Waits for Postgres as long as it takes. */
  start(): Promise<boolean> {
    this.#starting = this.#start();
    return this.#starting;
  }

  async stop(): Promise<void> {
    this.#stopping.abort();
    if (await this.#starting) {
      await this.#sender?.stop();
      await this.queue.stop();
    }
    await this.#fcm.close();
  }

  /** What keeps pushes from being sent and is not over by itself; undefined when nothing does. */
  async problem(): Promise<string | undefined> {
    if (!this.queue.started) return "the queue has not been reached yet";
    const found = (await this.#pauses.current()).find(({ cause }) => cause !== "quota");
    return found === undefined ? undefined : describe(found);
  }

  async #start(): Promise<boolean> {
    const { signal } = this.#stopping;
    for (let retryMs = 200; !signal.aborted; retryMs = Math.min(retryMs * 2, RETRY_MAX_MS)) {
      try {
        await this.queue.start();
        this.#sender?.start();
        return true;
      } catch (error) {
        this.#rarely.say("queue", (heldBack) =>
          this.#logger.warn({ err: error, heldBack }, "the push queue can't be used yet"),
        );
        await sleep(retryMs * (0.5 + Math.random() / 2), undefined, { signal }).catch(() => {}); // stopped
      }
    }
    return false;
  }
}

function describe({ scope, cause, reason }: Pause): string {
  const whom = scope === "all" ? "pushes" : `pushes to ${scope}`;
  return cause === "brake" ? `${whom} wait: ${reason}` : `${whom} wait for a repaired configuration: ${reason}`;
}
