import type { Result } from "./result.ts";

/** A line that is written over on a terminal, and now and then where the output is kept. */
export class ProgressLine {
  readonly #terminal = process.stderr.isTTY === true;
  #shownAt = Number.NEGATIVE_INFINITY;

  show(text: string): void {
    if (this.#terminal) process.stderr.write(`\r\u001b[K${text.slice(0, (process.stderr.columns ?? 120) - 1)}`);
    else if (performance.now() - this.#shownAt > 5_000) {
      this.#shownAt = performance.now();
      process.stderr.write(`${text}\n`);
    }
  }

  clear(): void {
    if (this.#terminal) process.stderr.write("\r\u001b[K");
  }
}

type Column = readonly [title: string, value: (result: Result) => string | number];

const columns: readonly Column[] = [
  ["scenario", ({ scenario }) => scenario],
  ["published", ({ published }) => published],
  ["owed", ({ owed }) => owed],
  ["delivered", ({ delivered, owed }) => share(delivered, owed)],
  ["gaps told", ({ gapsTold }) => gapsTold],
  ["missed, told", ({ told }) => told],
  ["silent loss", ({ silentlyLost }) => silentlyLost],
  ["doubled", ({ doubledIds, doubledPublications }) => doubledIds + doubledPublications],
  ["out of order", ({ outOfOrder }) => outOfOrder],
  ["longest wait p50 / max", ({ recoveryMs }) => `${seconds(recoveryMs.median)} / ${seconds(recoveryMs.max)}`],
  ["", ({ faults, warnings }) => [...faults.map((fault) => fault.toUpperCase()), ...warnings].join("; ") || "ok"],
];

export function table(results: readonly Result[]): string {
  return markdown([
    columns.map(([title]) => title),
    ...results.map((result) => columns.map(([, value]) => `${value(result)}`)),
  ]);
}

/** What counts, beside what the stock stack came to in the same scenarios: its figures are in brackets. */
export function tableBeside(results: readonly Result[], stock: readonly Result[]): string {
  const compared: readonly Column[] = [
    ["lost in silence", ({ silentlyLost, owed }) => `${silentlyLost}${silentlyLost > 0 ? ` of ${owed}` : ""}`],
    ["doubled", ({ doubledIds, doubledPublications }) => doubledIds + doubledPublications],
    ["out of order", ({ outOfOrder }) => outOfOrder],
    ["clients that never came back", ({ stuck }) => stuck.length],
    ["longest wait p50 / max", ({ recoveryMs }) => `${seconds(recoveryMs.median)} / ${seconds(recoveryMs.max)}`],
  ];
  const rows = results.map((result) => {
    const other = stock.find(({ scenario }) => scenario === result.scenario);
    const cells = compared.map(([, value]) => `${value(result)} (${other === undefined ? "–" : value(other)})`);
    return [result.scenario, ...cells, `${result.told} / ${result.gapsTold}`];
  });
  return markdown([["scenario", ...compared.map(([title]) => title), "missed and told / gaps told"], ...rows]);
}

/** To be read in a terminal, too. */
function markdown(rows: readonly (readonly string[])[]): string {
  const widths = (rows[0] ?? []).map((_, index) => Math.max(...rows.map((row) => (row[index] ?? "").length), 3));
  const lines = rows.map((row) => `| ${row.map((cell, index) => cell.padEnd(widths[index] ?? 0)).join(" | ")} |`);
  lines.splice(1, 0, `| ${widths.map((width) => "-".repeat(width)).join(" | ")} |`);
  return lines.join("\n");
}

function share(part: number, whole: number): string {
  if (part === whole) return "100 %";
  return `${(Math.floor((part / whole) * 100_000) / 1000).toFixed(3)} %`;
}

function seconds(ms: number): string {
  return `${(ms / 1000).toFixed(1)} s`;
}
