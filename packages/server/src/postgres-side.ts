/**
 * What this node does with Postgres: brings the schema up to date, checks the set-up, bridges outbox and NOTIFY onto the bus. Postgres
 * may be away at any time, at the start too; a set-up that can never work ends the start.
 */
import { type Logger, type Meter, type Publish, Relay } from "@carillon/core";
import { createPool, isListenable, migrate, PostgresBridge, probePostgres, SetupError } from "@carillon/postgres";
import { canonicalChannel } from "@carillon/protocol";
import type { Backbone } from "./backbone.ts";
import { ExampleTables } from "./demo/example-tables.ts";
import type { Examples } from "./http/deps.ts";
import { notifyInterpreter, type OnNonsense } from "./ingress.ts";
import type { Check, Health } from "./ops/health.ts";
import type { PostgresSettings, Settings } from "./settings/load.ts";

export interface PostgresSideOptions {
  readonly settings: Settings;
  readonly backbone: Pick<Backbone, "log" | "interest">;
  readonly publisher: Publish;
  /** The log's epoch, as far as this node knows. */
  readonly epoch: () => number | undefined;
  readonly isCustom: (channel: string) => boolean;
  readonly meter: Meter;
  readonly logger: Logger;
  readonly onNonsense: OnNonsense;
}

const RETRY_MIN_MS = 200;
const RETRY_MAX_MS = 5000;

export function buildPostgres(options: PostgresSideOptions): PostgresSide | undefined {
  const { postgres } = options.settings;
  return postgres === undefined ? undefined : new PostgresSide(postgres, options);
}

export class PostgresSide {
  readonly examples: Examples;
  readonly #postgres: PostgresSettings;
  readonly #options: PostgresSideOptions;
  readonly #pool: ReturnType<typeof createPool>;
  readonly #bridge: PostgresBridge | undefined;
  readonly #relay: Relay | undefined;
  /** Why the schema and the set-up could not be checked yet. */
  #unchecked: string | undefined = "not asked yet";
  #away = false;
  #stopped = false;

  constructor(postgres: PostgresSettings, options: PostgresSideOptions) {
    this.#postgres = postgres;
    this.#options = options;
    this.#pool = createPool(postgres.url, options.logger);
    this.examples = new ExampleTables(this.#pool);
    const { settings } = options;
    if (settings.roles.has("bridge") && settings.ingress.has("postgres")) {
      this.#bridge = this.#makeBridge();
      this.#relay = this.#makeRelay(this.#bridge);
    }
  }

  /** Whether it is decided who carries what Postgres says, or that it can't be decided now. */
  get settled(): boolean {
    return this.#away || (this.#unchecked === undefined && (this.#relay === undefined || this.#relay.synced));
  }

  addChecks(health: Health): void {
    health.add("postgres", "degraded", () => this.#check());
  }

  /** Resolves when the set-up is found sound, or when Postgres is away. Rejects with `SetupError` when no waiting helps. */
  async start(): Promise<void> {
    this.#relay?.start();
    const reason = await this.#prepare();
    if (reason === undefined) return this.#bridge?.start();
    this.#away = true;
    this.#options.logger.warn({ reason }, "Postgres is away: waiting for it");
    void this.#waitFor();
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    await this.#relay?.stop();
    await this.#bridge?.stop();
    await this.#pool.end().catch(() => {});
  }

  async #waitFor(): Promise<void> {
    for (let retryMs = RETRY_MIN_MS; !this.#stopped; retryMs = Math.min(retryMs * 2, RETRY_MAX_MS)) {
      await new Promise((resolve) => setTimeout(resolve, retryMs * (0.5 + Math.random() / 2)));
      if (this.#stopped) return;
      try {
        if ((await this.#prepare()) === undefined) return this.#bridge?.start();
      } catch (error) {
        // The node is in service already, and does what it can without Postgres.
        this.#unchecked = (error as Error).message;
        this.#options.logger.error({ err: error }, "Postgres is set up so that it can't be used");
      }
    }
  }

  /** `undefined` when all is well, else why Postgres can't be reached. Throws `SetupError`. */
  async #prepare(): Promise<string | undefined> {
    const { settings, logger } = this.#options;
    const { url, listenUrl, migrate: mayMigrate } = this.#postgres;
    const sqlSettings = {
      MAX_PAYLOAD_BYTES: settings.maxPayloadBytes,
      WATCH_MAX_ROWS: settings.watchMaxRows,
      PUSH_ACK_MS: settings.push.ackMs,
      NOTIFY_ROUTES: JSON.stringify(settings.push.notifyRoutes),
    };
    try {
      if (mayMigrate) await migrate(url, { logger, settings: sqlSettings });
    } catch (error) {
      if (error instanceof SetupError) throw error;
      this.#unchecked = error instanceof AggregateError ? "no connection" : (error as Error).message;
      return this.#unchecked;
    }
    const probe = await probePostgres({
      connectionString: url,
      ...(listenUrl !== url && { listenConnectionString: listenUrl }),
    });
    if (probe.status === "wrong") throw probe.error;
    this.#unchecked = probe.status === "away" ? probe.reason : undefined;
    return this.#unchecked;
  }

  #check(): Check {
    if (this.#unchecked !== undefined)
      return { status: "degraded", reason: `Postgres can't be used: ${this.#unchecked}` };
    const state = this.#bridge?.state;
    if (state === undefined || (state.connected && state.problem === undefined)) return { status: "ok" };
    return { status: "degraded", reason: state.problem ?? "the bridge is connecting" };
  }

  #makeBridge(): PostgresBridge {
    const { settings, publisher, backbone, meter, logger, onNonsense } = this.#options;
    return new PostgresBridge({
      connectionString: this.#postgres.listenUrl,
      publisher,
      log: backbone.log,
      namespaces: new Set(settings.namespaces),
      maxPayloadBytes: settings.maxPayloadBytes,
      interpret: notifyInterpreter(settings, onNonsense),
      meter,
      logger,
    });
  }

  #makeRelay(bridge: PostgresBridge): Relay {
    const { settings, publisher, backbone, epoch, isCustom, meter, logger, onNonsense } = this.#options;
    const { interest } = backbone;
    const namespaces = new Set(settings.namespaces);
    let listening: readonly string[] = settings.pgChannels;
    const listen = async () => {
      const custom = (await interest.wanted()).filter((channel) => isCustom(channel) && isListenable(channel));
      // Each node bounds its own part of these, and has acked it.
      listening = [...settings.pgChannels, ...custom];
      await bridge.setListenChannels(listening);
    };
    const listenOrLog = () =>
      void listen().catch((error: unknown) => logger.warn({ err: error }, "LISTEN could not be brought up to date"));
    interest.onWanted(listenOrLog);
    bridge.lease.onChange((held) => {
      if (!held) interest.release();
    });
    void bridge.setListenChannels(listening);
    listenOrLog();
    return new Relay({
      feed: bridge.feed,
      lease: bridge.lease,
      epoch,
      publisher,
      log: backbone.log,
      ingress: "postgres",
      interpret: notifyInterpreter(settings, onNonsense),
      affected: (channels = listening) => [
        ...new Set(channels.map((channel) => canonicalChannel(channel, namespaces))),
      ],
      onCarried: (channels) => {
        const custom = channels.filter(isCustom);
        if (custom.length === 0) return;
        interest.confirm(custom).catch((error: unknown) => logger.debug({ err: error }, "confirming LISTEN failed"));
      },
      meter,
      logger,
    });
  }
}
