import { readFileSync } from "node:fs";
import { METRICS } from "@carillon/core";
import { expect, test } from "vitest";
import { createMeter } from "../../src/ops/metrics.ts";
import { METRICS_DOC, metricsDoc } from "../../src/ops/metrics-doc.ts";

test("docs/metrics.md is what the table prints, so it lists exactly its metrics", () => {
  expect(readFileSync(METRICS_DOC, "utf8")).toBe(metricsDoc());
});

test("every metric of the table is exported under its name", async () => {
  const text = await createMeter().text();

  for (const { name, type } of Object.values(METRICS)) expect(text).toContain(`# TYPE ${name} ${type}\n`);
  expect(text).toContain("nodejs_eventloop_lag_seconds");
});

test("counters add, gauges hold, histograms fall into their buckets", async () => {
  const meter = createMeter({ nodeMetrics: false });

  meter.count("publications", 2, { ingress: "rest" });
  meter.count("publications", 1, { ingress: "rest" });
  meter.set("position", 7);
  meter.observe("appendSeconds", 0.003);

  const text = await meter.text();
  expect(text).toContain('carillon_publications_total{ingress="rest"} 3');
  expect(text).toContain("carillon_position 7");
  expect(text).toContain('carillon_append_seconds_bucket{le="0.0025"} 0');
  expect(text).toContain('carillon_append_seconds_bucket{le="0.005"} 1');
});

test("a label's unknown value is counted as other", async () => {
  const meter = createMeter({ nodeMetrics: false, labelValues: { namespace: ["/trips"] } });

  meter.set("connections", 1, { namespace: "/trips" });
  meter.set("connections", 2, { namespace: "/evil" });

  const text = await meter.text();
  expect(text).toContain('carillon_connections{namespace="/trips"} 1');
  expect(text).toContain('carillon_connections{namespace="other"} 2');
  expect(text).not.toContain("evil");
});

test("a label without a list can't grow without bound or carry odd text", async () => {
  const meter = createMeter({ nodeMetrics: false });

  for (let i = 0; i < 10_000; i++) meter.count("drops", 1, { reason: `reason-${i}` });
  meter.count("drops", 1, { reason: 'a"b\n' });

  const series = (await meter.text()).split("\n").filter((line) => line.startsWith("carillon_drops_total{"));
  expect(series).toHaveLength(65);
  expect(series.join()).toContain('reason="other"} 9937');
});

test("a wrong measurement never throws into the work", () => {
  const meter = createMeter({ nodeMetrics: false });

  expect(() => {
    meter.count("position");
    meter.set("drops", 1);
    meter.observe("position", 1);
    meter.count("drops", -1, { reason: "x" });
    meter.set("position", Number.NaN);
    meter.count("publications", 1, { nothing: "x" });
  }).not.toThrow();
});
