/**
 * What this node does about notifications: stores them and answers for inboxes and devices, notes what clients see, and, with the role
 * `push`, decides which devices get a push. All of it waits while Postgres is away.
 */
import type { Logger, Meter } from "@carillon/core";
import { createPool } from "@carillon/postgres";
import { Database, Decision, Devices, Housekeeping, Inbox, Notifications, NotSent, SeenReports } from "@carillon/push";
import type { Connection } from "./gateway/connection.ts";
import type { PushDeps } from "./http/deps.ts";
import type { PostgresSettings, Settings } from "./settings/load.ts";

export interface PushSideOptions {
  readonly settings: Pick<Settings, "postgres" | "ingress" | "roles" | "push">;
  readonly meter: Meter;
  readonly logger: Logger;
}

/** Requests, decisions and reports each wait for one. */
const CONNECTIONS = 10;

/** `undefined` where there is no Postgres, or where what it is told to publish is not read. */
export function buildPush(options: PushSideOptions): PushSide | undefined {
  const { postgres, ingress } = options.settings;
  return postgres === undefined || !ingress.has("postgres") ? undefined : new PushSide(postgres, options);
}

export class PushSide implements PushDeps {
  readonly notifications: Notifications;
  readonly inbox: Inbox;
  readonly devices: Devices;
  readonly #pool: ReturnType<typeof createPool>;
  readonly #meter: Meter;
  readonly #seen: SeenReports;
  readonly #decision: Decision | undefined;
  readonly #housekeeping: Housekeeping | undefined;

  constructor(postgres: PostgresSettings, { settings, meter, logger }: PushSideOptions) {
    this.#meter = meter;
    this.#pool = createPool(postgres.url, logger, CONNECTIONS);
    const database = new Database(this.#pool);
    this.notifications = new Notifications({ database, meter });
    this.inbox = new Inbox(database);
    this.devices = new Devices({ database, meter });
    this.#seen = new SeenReports({ database, meter, logger });
    if (!settings.roles.has("push")) return;
    const { policy, inboxRetentionDays } = settings.push;
    const queue = new NotSent({ database: this.#pool, logger });
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

  start(): void {
    this.#decision?.start();
    this.#housekeeping?.start();
  }

  async stop(): Promise<void> {
    await Promise.all([this.#decision?.stop(), this.#housekeeping?.stop(), this.#seen.stop()]);
    await this.#pool.end().catch(() => {});
  }
}
