import { type Labels, METRICS, type Meter, type MetricKey } from "@carillon/core";
import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from "prom-client";

/** What a scrape gets. */
export interface Exposition {
  readonly contentType: string;
  text(): Promise<string>;
}

export interface MetricValue {
  readonly value: number;
  readonly labels: Labels;
}

export interface MeterOptions {
  /** The values that a label may take; anything else is counted as `other`. */
  readonly labelValues?: Readonly<Record<string, readonly string[]>>;
  /** Node's own metrics: event loop lag, heap, garbage collection. */
  readonly nodeMetrics?: boolean;
}

const OTHER = "other";
/** For labels without a list: reasons and causes come from tables in the code, so this is only reached by a bug. */
const MAX_VALUES = 64;
const VALUE = /^[\w./:-]{1,64}$/;

/** core's `Meter` over the table of metrics, exported for Prometheus. A value from the outside can't make a new time series without bound. */
export class PrometheusMeter implements Meter, Exposition {
  readonly #registry = new Registry();
  readonly #metrics = new Map<MetricKey, Counter | Gauge | Histogram>();
  readonly #allowed: Readonly<Record<string, readonly string[]>>;
  readonly #seen = new Map<string, Set<string>>();

  constructor(options: MeterOptions = {}) {
    this.#allowed = options.labelValues ?? {};
    for (const [key, kind] of Object.entries(METRICS) as [MetricKey, (typeof METRICS)[MetricKey]][]) {
      const labels = "labels" in kind ? kind.labels : [];
      const configuration = { name: kind.name, help: kind.help, labelNames: [...labels], registers: [this.#registry] };
      this.#metrics.set(key, create(kind.type, configuration, "buckets" in kind ? kind.buckets : undefined));
    }
    if (options.nodeMetrics !== false) collectDefaultMetrics({ register: this.#registry });
  }

  get contentType(): string {
    return this.#registry.contentType;
  }

  text(): Promise<string> {
    return this.#registry.metrics();
  }

  /** What a counter or a gauge stands at, by its labels. */
  async read(key: MetricKey): Promise<readonly MetricValue[]> {
    const metric = this.#metrics.get(key);
    const { values } = (await metric?.get()) ?? { values: [] };
    return values.map(({ value, labels }) => ({ value, labels: labels as Labels }));
  }

  count(key: MetricKey, by = 1, labels: Labels = {}): void {
    const metric = this.#metrics.get(key);
    if (metric instanceof Counter && by >= 0) metric.inc(this.#bounded(key, labels), by);
  }

  set(key: MetricKey, value: number, labels: Labels = {}): void {
    const metric = this.#metrics.get(key);
    if (metric instanceof Gauge && Number.isFinite(value)) metric.set(this.#bounded(key, labels), value);
  }

  observe(key: MetricKey, value: number, labels: Labels = {}): void {
    const metric = this.#metrics.get(key);
    if (metric instanceof Histogram && Number.isFinite(value)) metric.observe(this.#bounded(key, labels), value);
  }

  /** Only the metric's own labels, each with an allowed value: a measurement never throws into the work that it measures. */
  #bounded(key: MetricKey, labels: Labels): Record<string, string> {
    const kind = METRICS[key];
    if (!("labels" in kind)) return {};
    const result: Record<string, string> = {};
    for (const label of kind.labels) result[label] = this.#value(key, label, labels[label] ?? OTHER);
    return result;
  }

  #value(key: MetricKey, label: string, value: string): string {
    const allowed = this.#allowed[label];
    if (allowed !== undefined) return allowed.includes(value) ? value : OTHER;
    const place = `${key} ${label}`;
    let seen = this.#seen.get(place);
    if (seen === undefined) {
      seen = new Set();
      this.#seen.set(place, seen);
    }
    if (seen.has(value)) return value;
    if (seen.size >= MAX_VALUES || !VALUE.test(value)) return OTHER;
    seen.add(value);
    return value;
  }
}

export function createMeter(options: MeterOptions = {}): PrometheusMeter {
  return new PrometheusMeter(options);
}

function create(
  type: "counter" | "gauge" | "histogram",
  configuration: { name: string; help: string; labelNames: string[]; registers: Registry[] },
  buckets: readonly number[] | undefined,
): Counter | Gauge | Histogram {
  if (type === "counter") return new Counter(configuration);
  if (type === "gauge") return new Gauge(configuration);
  return new Histogram(buckets === undefined ? configuration : { ...configuration, buckets: [...buckets] });
}
