/** Prints `docs/metrics.md` from the table of metrics: `node packages/server/src/ops/metrics-doc.ts`. */
import { writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { METRICS } from "@carillon/core";

export const METRICS_DOC = fileURLToPath(new URL("../../../../docs/metrics.md", import.meta.url));

export function metricsDoc(): string {
  const rows = Object.values(METRICS).map((metric) => {
    const labels = "labels" in metric ? metric.labels.map((label) => `\`${label}\``).join(", ") : "";
    return `| \`${metric.name}\` | ${metric.type} | ${labels} | ${metric.help} |`;
  });
  return `# Metrics

What \`GET /metrics\` says, in Prometheus' text format; beside it the usual figures of Node itself (\`nodejs_*\`, \`process_*\`). Labels take
values from fixed sets only, so that no client can make series. Each node speaks for itself: sum counters over the nodes. The dashboard
is \`infra/grafana/carillon.json\`, the alerts are \`infra/prometheus/rules.yml\`, and what to do about them is in
[operations.md](operations.md).

| name | kind | labels | what |
| --- | --- | --- | --- |
${rows.join("\n")}

This page is printed from \`packages/core/src/metrics.ts\` by \`node packages/server/src/ops/metrics-doc.ts\`.
`;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) writeFileSync(METRICS_DOC, metricsDoc());
