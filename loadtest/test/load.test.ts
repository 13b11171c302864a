import { waitFor } from "@carillon/testkit";
import { expect, test } from "vitest";
import type { Ingress } from "../chaos/load/ingress.ts";
import { Ledger, Refused } from "../chaos/load/ledger.ts";
import { Load } from "../chaos/load/load.ts";

/** Answers after `answerMs`; `Infinity` for never. */
function ingress(name: string, weight: number, lanes: number, answerMs = 0): Ingress & { tags: string[] } {
  const tags: string[] = [];
  return {
    name,
    weight,
    lanes,
    tags,
    publish: (tag) => {
      tags.push(tag);
      return new Promise((resolve) => {
        if (Number.isFinite(answerMs)) setTimeout(resolve, answerMs);
      });
    },
    close: async () => {},
  };
}

test("ingresses get their shares, and a lane sends one after another", async () => {
  const often = ingress("a", 3, 4);
  const seldom = ingress("b", 1, 4);
  const load = new Load([often, seldom], 500);

  load.start();
  await waitFor(() => often.tags.length + seldom.tags.length > 100, { what: "a hundred publications" });
  await load.stop(1_000);

  expect(often.tags.length / seldom.tags.length).toBeCloseTo(3, 0);
  expect(seldom.tags.filter((tag) => tag.startsWith("b0.")).slice(0, 3)).toEqual(["b0.0", "b0.1", "b0.2"]);
});

test("an ingress that does not answer holds up no other", async () => {
  const stuck = ingress("a", 1, 2, Number.POSITIVE_INFINITY);
  const other = ingress("b", 1, 1);
  const load = new Load([stuck, other], 500);

  load.start();
  await waitFor(() => other.tags.length > 50, { what: "fifty publications on the other" });
  await load.stop(10);

  expect(stuck.tags).toEqual(["a0.0", "a1.0"]);
});

test("the ledger tells a refusal from an outcome that nobody knows", async () => {
  const ledger = new Ledger();
  const draft = { channel: "chat", promised: true };

  await ledger.record({ tag: "a.0", ...draft }, async () => "1-1");
  await ledger.record({ tag: "a.1", ...draft }, async () => Promise.reject(new Refused("no")));
  await ledger.record({ tag: "a.2", ...draft }, async () => Promise.reject(new Error("the connection broke")));

  expect(ledger.publications.map(({ outcome, id }) => [outcome, id])).toEqual([
    ["accepted", "1-1"],
    ["refused", undefined],
    ["unknown", undefined],
  ]);
});
