/**
 * What this node does about notifications: stores them and answers for inboxes and devices, notes what clients see, and, with the role
 * `push`, decides which devices get a push and sends it. All of it waits while Postgres is away.
 */
import type { Logger, Meter, TokenBucket } from "@carillon/core";
import { createPool } from "@carillon/postgres";
import {
  Attempts,
  Database,
  Decision,
  Devices,
  Housekeeping,
  Inbox,
  Notifications,
  NotSent,
  SeenReports,
  Sending,
} from "@carillon/push";
import type { Connection } from "./gateway/connection.ts";
import type { PushDeps } from "./http/deps.ts";
import type { Check, Health } from "./ops/health.ts";
import type { PostgresSettings, Settings } from "./settings/load.ts";

export interface PushSideOptions {
  readonly settings: Pick<Settings, "postgres" | "ingress" | "roles" | "push">;
  /** Of pushes, over all nodes. */
  readonly quota: TokenBucket;
  readonly meter: Meter;
  readonly logger: Logger;
}

/** Requests, decisions and reports each wait for one. */
const CONNECTIONS = 10;
/** For the sender's lanes and its queue, so that a storm of pushes leaves requests theirs. */
const SENDING_CONNECTIONS = 6;

/** `undefined` where there is no Postgres, or where what it is told to publish is not read. */
export function buildPush(options: PushSideOptions): PushSide | undefined {
  const { postgres, ingress } = options.settings;
  return postgres === undefined || !ingress.has("postgres") ? undefined : new PushSide(postgres, options);
}

export class PushSide implements PushDeps {
  readonly notifications: Notifications;
  readonly inbox: Inbox;
  readonly devices: Devices;
  readonly attempts: Attempts;
  /** Absent without credentials for Firebase. */
  readonly sending: Sending | undefined;
  readonly #sendingPool: ReturnType<typeof createPool>;
  readonly #pool: ReturnType<typeof createPool>;
  readonly #meter: Meter;
  readonly #seen: SeenReports;
  readonly #decision: Decision | undefined;
  readonly #housekeeping: Housekeeping | undefined;

  constructor(postgres: PostgresSettings, { settings, quota, meter, logger }: PushSideOptions) {
    this.#meter = meter;
    this.#pool = createPool(postgres.url, logger, CONNECTIONS);
    const database = new Database(this.#pool);
    this.notifications = new Notifications({ database, meter });
    this.inbox = new Inbox(database);
    this.devices = new Devices({ database, meter });
    this.attempts = new Attempts(database);
    this.#seen = new SeenReports({ database, meter, logger });
    const { policy, inboxRetentionDays, account, perSecond, ttlS, maxDeadPercent } = settings.push;
    const sends = settings.roles.has("push");
    this.#sendingPool = createPool(postgres.url, logger, SENDING_CONNECTIONS);
    if (account !== undefined) {
      this.sending = new Sending({
        account,
        pool: this.#sendingPool,
        database: new Database(this.#sendingPool),
        sends,
        migrate: postgres.migrate,
        quota,
        perSecond,
        ttlS,
        maxDeadPercent,
        meter,
        logger,
      });
    }
    if (!sends) return;
    const queue = this.sending?.queue ?? new NotSent({ database: this.#pool, logger });
    this.#decision = new Decision({ database, queue, policy, meter, logger });
    this.#housekeeping = new Housekeeping({ database, inboxRetentionDays, meter, logger });
  }

  /** A client shows these events. Counts where somebody looks at it and it says which installation it is. */
  seen(connection: Connection, eventIds: readonly string[]): void {
    const { principal, installationId, transport } = connection;
    if (transport.foreground === false) {
      this.#meter.count("seenReports", eventIds.length, { outcome: "background" });
    } else if (principal.user === undefined || installationId === undefined) {
      this.#meter.count("seenReports", eventIds.length, { outcome: "unknown_installation" });
    } else {
      this.#seen.report(principal.user, installationId, eventIds);
    }
  }

  addChecks(health: Health): void {
    const { sending } = this;
    if (sending === undefined) return;
    health.add("push", "degraded", async (): Promise<Check> => {
      const reason = await sending.problem();
      return reason === undefined ? { status: "ok" } : { status: "degraded", reason };
    });
  }

  start(): void {
    this.#housekeeping?.start();
    if (this.sending === undefined) this.#decision?.start();
    else void this.sending.start().then((started) => started && this.#decision?.start());
  }

  async stop(): Promise<void> {
    await Promise.all([this.#decision?.stop(), this.#housekeeping?.stop(), this.#seen.stop()]);
    await this.sending?.stop();
    await Promise.all([this.#pool.end(), this.#sendingPool.end()]).catch(() => {});
  }
}
