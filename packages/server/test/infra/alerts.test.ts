import { spawnSync } from "node:child_process";
import { join } from "node:path";
import { METRICS } from "@carillon/core";
import { describe, expect, test } from "vitest";
import { documentsOf, root, textOf } from "./files.ts";

interface Rule {
  alert: string;
  expr: string;
  annotations: { summary: string };
}

const rules: Rule[] = documentsOf("infra/prometheus/rules.yml")[0].groups.flatMap(
  (group: { rules: Rule[] }) => group.rules,
);
const dashboard = JSON.parse(textOf("infra/grafana/carillon.json")) as {
  panels: { title: string; targets: { expr: string }[] }[];
};
const known = new Map<string, readonly string[]>();
for (const kind of Object.values(METRICS)) {
  const labels = "labels" in kind ? kind.labels : [];
  if (kind.type !== "histogram") known.set(kind.name, labels);
  else
    for (const part of ["bucket", "sum", "count"])
      known.set(`${kind.name}_${part}`, part === "bucket" ? [...labels, "le"] : labels);
}
/** Prometheus adds them to every series. */
const added = ["job", "instance"];

function faultsOf(expr: string): string[] {
  const faults: string[] = [];
  for (const [, name = "", , selector = ""] of expr.matchAll(/\b(carillon_\w+)(\{([^}]*)\})?/g)) {
    const labels = known.get(name);
    if (labels === undefined) faults.push(`no metric ${name}`);
    for (const [, label = ""] of selector.matchAll(/(\w+)\s*[=!]~?=?/g)) {
      if (labels !== undefined && ![...labels, ...added].includes(label)) faults.push(`${name} has no label ${label}`);
    }
  }
  const grouped = [...expr.matchAll(/\bby \(([^)]*)\)/g)].flatMap(([, list = ""]) =>
    list.split(",").map((label) => label.trim()),
  );
  const labels = [...expr.matchAll(/\bcarillon_\w+/g)].flatMap(([name]) => known.get(name) ?? []);
  for (const label of grouped)
    if (![...labels, ...added].includes(label)) faults.push(`nothing in it has the label ${label}`);
  return faults;
}

test("a metric or label that does not exist is noticed", () => {
  expect(faultsOf("sum by (couse) (rate(carillon_gaps_told_total[5m]))")).toEqual([
    "nothing in it has the label couse",
  ]);
  expect(faultsOf('carillon_gaps_total{cause="x"}')).toEqual(["no metric carillon_gaps_total"]);
  expect(faultsOf('carillon_gaps_told_total{reason="x"}')).toEqual(["carillon_gaps_told_total has no label reason"]);
});

describe("alerts", () => {
  test.each(rules)("$alert reads metrics that exist and has its entry in the runbook", ({ alert, expr }) => {
    expect(faultsOf(expr)).toEqual([]);
    expect(textOf("docs/operations.md")).toMatch(new RegExp(`^### ${alert}$`, "m"));
  });

  test("the runbook has no entry of an alert that is gone", () => {
    const entries = [...textOf("docs/operations.md").matchAll(/^### (Carillon\w+)$/gm)].map(([, name]) => name);

    expect(entries.toSorted()).toEqual(rules.map(({ alert }) => alert).toSorted());
  });

  const promtool = spawnSync("promtool", ["--version"]).error === undefined;
  test.skipIf(!promtool)(
    "promtool accepts rules, scrape configuration and the rules' own tests (Debian: apt-get install prometheus)",
    () => {
      for (const args of [
        ["check", "config", "prometheus.yml"],
        ["test", "rules", "rules.test.yml"],
      ]) {
        const { status, stdout, stderr } = spawnSync("promtool", args, {
          cwd: join(root, "infra/prometheus"),
          encoding: "utf8",
        });
        expect(status, stdout + stderr).toBe(0);
      }
    },
  );
});

test("every panel of the dashboard reads metrics that exist", () => {
  const faults = dashboard.panels.flatMap(({ title, targets }) =>
    targets.flatMap(({ expr }) => faultsOf(expr).map((fault) => `${title}: ${fault}`)),
  );

  expect(dashboard.panels.length).toBeGreaterThan(10);
  expect(faults).toEqual([]);
});
