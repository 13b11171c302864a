import { expect, test } from "vitest";
import { tableBeside } from "../chaos/report.ts";
import type { Result } from "../chaos/result.ts";

test("beside the stock stack each figure stands before its own in brackets, and a scenario that it did not play is a dash", () => {
  const whole = result({ scenario: "node-sigkill", owed: 100, told: 2, gapsTold: 3 });
  const lossy = result({ scenario: "node-sigkill", owed: 90, silentlyLost: 7, doubledIds: 1, doubledPublications: 1 });
  const alone = result({ scenario: "random" });

  const rows = tableBeside([whole, alone], [lossy]).split("\n");

  expect(cells(rows[2])).toEqual([
    "node-sigkill",
    "0 (7 of 90)",
    "0 (2)",
    "0 (0)",
    "0 (0)",
    "0.5 s / 1.5 s (0.5 s / 1.5 s)",
    "2 / 3",
  ]);
  expect(cells(rows[3])).toEqual(["random", "0 (–)", "0 (–)", "0 (–)", "0 (–)", "0.5 s / 1.5 s (–)", "0 / 0"]);
});

function result(figures: Partial<Result>): Result {
  const none = { owed: 0, told: 0, gapsTold: 0, silentlyLost: 0, doubledIds: 0, doubledPublications: 0, outOfOrder: 0 };
  return { ...none, stuck: [], recoveryMs: { median: 500, max: 1500 }, ...figures } as unknown as Result;
}

function cells(row = ""): string[] {
  return row
    .split("|")
    .slice(1, -1)
    .map((cell) => cell.trim());
}
