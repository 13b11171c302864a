import { expect, test } from "vitest";
import { sumOf } from "../src/node.ts";

const text = `# HELP drops_total What was dropped.
# TYPE drops_total counter
drops_total{reason="full",ns="/trips"} 2
drops_total{reason="full",ns="/users"} 3
drops_total{reason="a \\"b\\"",ns="/users"} 5
# TYPE lag gauge
lag 0.5
# TYPE repairs_total counter
`;

test("a metric is the sum over the series with the labels", () => {
  expect(sumOf(text, "drops_total")).toBe(10);
  expect(sumOf(text, "drops_total", { reason: "full" })).toBe(5);
  expect(sumOf(text, "drops_total", { reason: "full", ns: "/users" })).toBe(3);
  expect(sumOf(text, "lag")).toBe(0.5);
  expect(sumOf(text, "repairs_total")).toBe(0);
});

test("a metric of another name is an error, not 0", () => {
  expect(() => sumOf(text, "drop_total")).toThrow("/metrics has no drop_total");
});
