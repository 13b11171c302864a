/** The end of a run: a table for people, everything for machines. The chart is k6's own, which `npm run load` asks for. */
interface Metric {
  readonly values: Readonly<Record<string, number>>;
}

interface Summary {
  readonly metrics: Readonly<Record<string, Metric>>;
}

const COUNTS = {
  published: "carillon_published",
  "publications refused": "carillon_publications_refused",
  received: "carillon_received",
  resumed: "carillon_resumed",
  "gaps told": "carillon_gaps_told",
  "failed attempts to connect": "carillon_connect_failures",
  lost: "carillon_lost",
  doubled: "carillon_doubled",
  "out of order": "carillon_out_of_order",
};
const TIMES = { "publish to receive": "carillon_publish_to_receive", "connect to ready": "carillon_connect_time" };

/** A run's `handleSummary`, for `listeners` who hear everything that is published, from before the first to after the last. */
export function summaryFor(listeners: number): (summary: Summary) => Record<string, string> {
  return (summary) => {
    const count = (name: string) => summary.metrics[name]?.values.count ?? 0;
    const missing = Math.max(count("carillon_published") * listeners - count("carillon_received"), 0);
    const faults = [
      ...(missing > 0 && count("carillon_gaps_told") === 0 ? [`${missing} deliveries are missing`] : []),
      ...["carillon_lost", "carillon_doubled", "carillon_out_of_order"]
        .filter((name) => count(name) > 0)
        .map((name) => `${name} is ${count(name)}`),
    ];
    const counts = Object.entries(COUNTS).map(([name, metric]) => `  ${name.padEnd(28)} ${count(metric)}`);
    const times = Object.entries(TIMES).map(([name, metric]) => {
      const { med = 0, "p(95)": p95 = 0, "p(99)": p99 = 0, max = 0 } = summary.metrics[metric]?.values ?? {};
      const [a, b, c, d] = [med, p95, p99, max].map((ms) => ms.toFixed(1));
      return `  ${name.padEnd(28)} p50 ${a} ms, p95 ${b} ms, p99 ${c} ms, max ${d} ms`;
    });
    const verdict = faults.length === 0 ? "nothing lost, doubled or out of order" : `FAILED: ${faults.join("; ")}`;
    const file = __ENV.SUMMARY_JSON;
    return {
      stdout: `\n${[...counts, ...times].join("\n")}\n\n${verdict}\n`,
      ...(file && { [file]: JSON.stringify({ ...summary, faults }, null, 2) }),
    };
  };
}
