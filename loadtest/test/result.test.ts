import { expect, test } from "vitest";
import { check } from "../chaos/checker/check.ts";
import type { Publication } from "../chaos/checker/histories.ts";
import { resultOf } from "../chaos/result.ts";
import { scenarios } from "../chaos/scenarios/all.ts";

test("a run is at fault in which nothing of a lane was accepted, and it says why", () => {
  const { faults, samples } = resultOf(
    runOf([...lane("rest0", "accepted"), ...lane("pg-insert-0", "refused", "no such table")]),
  );

  expect(faults).toEqual(["nothing from pg-insert-0 was accepted"]);
  expect(samples).toEqual(["pg-insert-0: no such table"]);
});

test("a lane of which some was accepted is as it should be, however much was refused", () => {
  const [first, ...rest] = lane("rest0", "refused", "503");

  expect(resultOf(runOf([{ ...first!, outcome: "accepted" }, ...rest])).faults).toEqual([]);
});

function lane(name: string, outcome: Publication["outcome"], error?: string): Publication[] {
  return Array.from({ length: 5 }, (_, n) => {
    const publication = { tag: `${name}.${n}`, channel: "orders", promised: true, outcome, sentAt: n };
    return error === undefined ? publication : { ...publication, error };
  });
}

function runOf(publications: Publication[]) {
  const verdict = check(publications, []);
  return {
    scenario: scenarios[0]!,
    stock: false,
    publications,
    verdict,
    stuck: [],
    deaths: 0,
    rounds: 1,
    events: [],
    startedAt: 0,
  };
}
