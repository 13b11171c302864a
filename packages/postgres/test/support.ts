import { randomBytes } from "node:crypto";
import {
  type AppendRequest,
  MemoryLog,
  type Meter,
  type MetricKey,
  noLogger,
  publicationFromNotify,
} from "@carillon/core";
import { CarillonError, type LogEntry, type Publication } from "@carillon/protocol";
import { createTemplate, databaseUrl, queryAt, sharedDatabase, sharedPostgres, waitFor } from "@carillon/testkit";
import pg from "pg";
import { onTestFinished } from "vitest";
import { type BridgeOptions, PostgresBridge } from "../src/bridge.ts";
import { migrate } from "../src/migrate.ts";

/** A new database with the schema in it. */
export async function migratedDatabase(): Promise<string> {
  const template = await createTemplate(await sharedPostgres(), "carillon_migrated", (url) =>
    migrate(url, { logger: noLogger }),
  );
  return sharedDatabase(template);
}

/** The same in another encoding than UTF-8. */
export async function migratedDatabaseIn(encoding: string): Promise<string> {
  const server = await sharedPostgres();
  const name = `test_${randomBytes(6).toString("hex")}`;
  await queryAt(
    server,
    `create database ${name} encoding '${encoding}' template template0 locale_provider libc locale 'C'`,
  );
  const url = databaseUrl(server, name);
  await migrate(url, { logger: noLogger });
  return url;
}

export async function connectTo(url: string): Promise<pg.Client> {
  const client = new pg.Client({ connectionString: url });
  client.on("error", () => {});
  await client.connect();
  onTestFinished(() => client.end().catch(() => {}));
  return client;
}

export interface Outbox {
  channel: string;
  scope: string | null;
  payload: string | null;
  truncated: string | null;
  audience: string | null;
  raw: string | null;
  error: string | null;
}

export async function outbox(client: pg.Client): Promise<Outbox[]> {
  const { rows } = await client.query<Outbox>(
    "select channel, scope, payload, truncated, audience, raw, error from carillon.outbox order by id",
  );
  return rows;
}

/** A log in memory whose appends can be made to fail, and what was appended to it. */
export class RecordingLog {
  readonly log = new MemoryLog({ maxEntries: 1_000_000 });
  readonly batches: (readonly AppendRequest[])[] = [];
  away = false;

  readonly append = async (requests: readonly AppendRequest[]) => {
    if (this.away) throw new CarillonError("BUS_UNAVAILABLE");
    this.batches.push(requests);
    return this.log.append(requests);
  };

  async entries(): Promise<readonly LogEntry[]> {
    return (await this.log.read({ epoch: 0, n: 0 }, 1_000_000)).entries;
  }

  async publications(channel?: string): Promise<Publication[]> {
    const entries = await this.entries();
    return entries.filter(
      (entry): entry is Publication => !("gap" in entry) && (channel === undefined || entry.channel === channel),
    );
  }

  async gaps(): Promise<number> {
    return (await this.entries()).filter((entry) => "gap" in entry).length;
  }

  /** Resolves with them once there are that many, and throws when there are more. */
  async waitForPublications(count: number, channel?: string, timeoutMs = 15_000): Promise<Publication[]> {
    await waitFor(async () => (await this.publications(channel)).length >= count, {
      what: `${count} publications`,
      timeoutMs,
    });
    const publications = await this.publications(channel);
    if (publications.length > count) throw new Error(`${publications.length} publications instead of ${count}`);
    return publications;
  }
}

export class RecordingMeter implements Meter {
  readonly counts = new Map<string, number>();
  readonly gauges = new Map<MetricKey, number>();

  count(key: MetricKey, by = 1, labels: Readonly<Record<string, string>> = {}): void {
    for (const name of new Set([key, [key, ...Object.values(labels)].join(":")])) {
      this.counts.set(name, (this.counts.get(name) ?? 0) + by);
    }
  }

  set(key: MetricKey, value: number): void {
    this.gauges.set(key, value);
  }

  observe(): void {}
}

const forms = { namespaces: new Set(["notifications", "trips", "users"]), maxPayloadBytes: 65_536 };

export function newBridge(url: string, log: RecordingLog, options: Partial<BridgeOptions> = {}): PostgresBridge {
  const bridge = new PostgresBridge({
    connectionString: url,
    publisher: log,
    log: log.log,
    interpret: (channel, text) => {
      const draft = publicationFromNotify(channel, text, forms);
      return draft === undefined ? [] : [draft];
    },
    meter: new RecordingMeter(),
    logger: noLogger,
    ...forms,
    ...options,
  });
  onTestFinished(() => bridge.stop());
  return bridge;
}

/** Started and holding the lease. */
export async function runningBridge(
  url: string,
  log: RecordingLog,
  options: Partial<BridgeOptions> = {},
): Promise<PostgresBridge> {
  const bridge = newBridge(url, log, options);
  bridge.start();
  await waitFor(() => bridge.state.holdsLease, { what: "the bridge to hold the lease" });
  return bridge;
}
