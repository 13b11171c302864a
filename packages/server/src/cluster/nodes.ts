/** The nodes of the cluster, each as it describes itself. */
import { hostname } from "node:os";
import { monitorEventLoopDelay } from "node:perf_hooks";
import type { Logger, Meter, MetricKey, Roster, Sequencer } from "@carillon/core";
import { formatId } from "@carillon/protocol";
import type { Health } from "../ops/health.ts";
import type { PrometheusMeter } from "../ops/metrics.ts";
import { VERSION } from "../version.ts";
import { type NodeRecord, parseNodeRecord } from "./node-record.ts";
import { Reporter } from "./reporter.ts";

export interface NodesOptions {
  readonly roster: Roster;
  readonly name: string;
  readonly roles: ReadonlySet<string>;
  readonly health: Pick<Health, "state" | "readiness">;
  readonly sequencer: Pick<Sequencer, "position" | "behind">;
  readonly transports: () => ReadonlyMap<string, number>;
  readonly connections: () => ReadonlyMap<string, number>;
  readonly users: () => number;
  readonly meter: Pick<Meter, "count"> & Pick<PrometheusMeter, "read">;
  readonly logger: Logger;
}

export interface NodesView {
  /** Longest in service first. */
  readonly nodes: readonly NodeRecord[];
  /** False when the others could not be asked, and this node answers for itself alone. */
  readonly complete: boolean;
}

const REPORT_EVERY_MS = 2000;
const LAG_RESOLUTION_MS = 20;

export class Nodes {
  readonly #options: NodesOptions;
  readonly #reporter: Reporter;
  readonly #lag = monitorEventLoopDelay({ resolution: LAG_RESOLUTION_MS });
  readonly #startedAt = new Date().toISOString();
  #lagMs = { p99: 0, max: 0 };

  constructor(options: NodesOptions) {
    this.#options = options;
    const { roster, logger } = options;
    const record = async () => {
      this.#readLag();
      return JSON.stringify(await this.#own());
    };
    this.#reporter = new Reporter({ roster, record, everyMs: REPORT_EVERY_MS, logger });
  }

  start(): void {
    this.#lag.enable();
    this.#reporter.start();
  }

  /** Tells the others at once that this node's state is another. */
  changed(): void {
    this.#reporter.say();
  }

  stop(): Promise<void> {
    this.#lag.disable();
    return this.#reporter.stop();
  }

  async view(): Promise<NodesView> {
    const { roster, name, logger } = this.#options;
    const own = await this.#own();
    try {
      const others = (await roster.all()).map((text) => this.#parse(text)).filter((record) => record !== undefined);
      const nodes = [own, ...others.filter((other) => other.name !== name)];
      return { nodes: nodes.toSorted((a, b) => a.startedAt.localeCompare(b.startedAt)), complete: true };
    } catch (error) {
      logger.debug({ err: error }, "the other nodes could not be asked");
      return { nodes: [own], complete: false };
    }
  }

  #parse(text: string): NodeRecord | undefined {
    const record = parseNodeRecord(text);
    if (record === undefined) this.#options.meter.count("drops", 1, { reason: "node_record" });
    return record;
  }

  /** As it is now. */
  async #own(): Promise<NodeRecord> {
    const { name, roles, health, sequencer, transports, connections, users } = this.#options;
    const { rss, heapUsed } = process.memoryUsage();
    const { status, checks } = await health.readiness();
    const wrong = Object.entries(checks).filter(([, check]) => check.status !== "ok");
    return {
      name,
      host: hostname(),
      version: VERSION,
      startedAt: this.#startedAt,
      reportedAt: new Date().toISOString(),
      roles: [...roles],
      state: health.state,
      readiness: status,
      problems: Object.fromEntries(wrong.map(([check, { reason }]) => [check, reason ?? ""])),
      transports: Object.fromEntries(transports()),
      connections: Object.fromEntries(connections()),
      users: users(),
      position: sequencer.position === undefined ? null : formatId(sequencer.position),
      behind: sequencer.behind,
      leases: await this.#leases(),
      eventLoopLagMs: this.#lagMs,
      memory: { rssBytes: rss, heapUsedBytes: heapUsed },
      totals: {
        publications: await this.#total("publications"),
        deliveries: await this.#total("deliveries"),
        gapsTold: await this.#total("gapsTold"),
      },
    };
  }

  async #leases(): Promise<string[]> {
    const leases = await this.#options.meter.read("lease");
    return leases.filter(({ value }) => value === 1).map(({ labels }) => labels.lease ?? "");
  }

  async #total(key: MetricKey): Promise<number> {
    return (await this.#options.meter.read(key)).reduce((sum, { value }) => sum + value, 0);
  }

  #readLag(): void {
    const lag = (nanoseconds: number) => Math.max(Math.round(nanoseconds / 1e5) / 10 - LAG_RESOLUTION_MS, 0);
    if (this.#lag.count > 0) this.#lagMs = { p99: lag(this.#lag.percentile(99)), max: lag(this.#lag.max) };
    this.#lag.reset();
  }
}
