/** What a scenario came to: one line of the table, and what stands behind it. */
import type { Verdict } from "./checker/check.ts";
import type { Publication } from "./checker/histories.ts";
import type { Scenario } from "./scenarios/scenario.ts";

export interface Result {
  readonly scenario: string;
  readonly clients: number;
  readonly rounds: number;
  readonly published: number;
  readonly accepted: number;
  /** Of what the clients were owed, summed over them. */
  readonly owed: number;
  readonly delivered: number;
  readonly gapsTold: number;
  /** Gaps that cover nothing which the client missed. */
  readonly falseGaps: number;
  /** Missed, and told of. */
  readonly told: number;
  readonly silentlyLost: number;
  readonly doubledIds: number;
  readonly doubledPublications: number;
  /** Clients with `auth.ids: "event"` alone: their connection broke between an event and its id. */
  readonly repeatedUnnamed: number;
  readonly outOfOrder: number;
  readonly overheard: number;
  /** PUBLISH and NOTIFY that nobody heard; and how often no client was told either. */
  readonly vanished: number;
  readonly vanishedUntold: number;
  /** Clients that did not hear the last publications within the time. */
  readonly stuck: readonly string[];
  /** Over the clients: the longest wait of each. */
  readonly recoveryMs: { readonly median: number; readonly max: number };
  /** Nodes that ended by themselves. */
  readonly deaths: number;
  /** Empty when all is as promised. */
  readonly faults: readonly string[];
  readonly warnings: readonly string[];
  readonly samples: readonly string[];
  readonly events: readonly string[];
}

export interface Run {
  readonly scenario: Scenario;
  readonly stock: boolean;
  readonly publications: readonly Publication[];
  readonly verdict: Verdict;
  readonly stuck: readonly string[];
  readonly deaths: number;
  readonly rounds: number;
  readonly events: readonly string[];
  readonly startedAt: number;
}

const maxSamples = 40;
/** Publications of one lane. */
const enoughToJudge = 5;

export function resultOf(run: Run): Result {
  const { clients, vanished, vanishedUntold } = run.verdict;
  const sum = (value: (client: (typeof clients)[number]) => number) =>
    clients.reduce((total, client) => total + value(client), 0);
  const counts = {
    gapsTold: sum(({ gaps }) => gaps),
    silentlyLost: sum(({ lost }) => lost.length),
    doubledIds: sum(({ doubledIds }) => doubledIds.length),
    doubledPublications: sum(({ doubledPublications }) => doubledPublications.length),
    repeatedUnnamed: sum(({ repeatedUnnamed }) => repeatedUnnamed.length),
    outOfOrder: sum(({ inversions }) => inversions.length),
    overheard: sum(({ overheard }) => overheard.length),
  };
  const waits = clients.map(({ longestWaitMs }) => Math.round(longestWaitMs)).sort((a, b) => a - b);
  return {
    scenario: run.scenario.name,
    clients: clients.length,
    rounds: run.rounds,
    published: run.publications.length,
    accepted: run.publications.filter(({ outcome }) => outcome === "accepted").length,
    owed: sum(({ owed }) => owed),
    delivered: sum(({ delivered }) => delivered),
    falseGaps: sum(({ falseGaps }) => falseGaps),
    told: sum(({ told }) => told),
    ...counts,
    vanished: vanished.length,
    vanishedUntold,
    stuck: run.stuck,
    recoveryMs: { median: waits[Math.floor(waits.length / 2)] ?? 0, max: waits.at(-1) ?? 0 },
    deaths: run.deaths,
    faults: faultsOf(run, counts),
    warnings: warningsOf(run, counts),
    samples: samplesOf(run),
    events: run.events,
  };
}

type Counts = Pick<
  Result,
  "gapsTold" | "silentlyLost" | "doubledIds" | "doubledPublications" | "repeatedUnnamed" | "outOfOrder" | "overheard"
>;

function faultsOf({ scenario, stuck, publications }: Run, counts: Counts): string[] {
  const faults = shutOutLanes(publications).map(({ lane }) => `nothing from ${lane} was accepted`);
  if (counts.silentlyLost > 0) faults.push("lost in silence");
  if (counts.doubledIds > 0) faults.push("an id twice");
  if (counts.doubledPublications > 0 && !scenario.losesRedisData) faults.push("a publication twice");
  if (counts.outOfOrder > 0) faults.push("out of order");
  if (counts.overheard > 0) faults.push("heard what was for others");
  if (stuck.length > 0) faults.push(`${stuck.length} clients never came back`);
  return faults;
}

/** Those that never got anything in: a run shows nothing of their ingress. */
function shutOutLanes(publications: readonly Publication[]): { lane: string; why: string }[] {
  const lanes = Map.groupBy(publications, ({ tag }) => tag.slice(0, tag.lastIndexOf(".")));
  return [...lanes]
    .filter(([, sent]) => sent.length >= enoughToJudge && sent.every(({ outcome }) => outcome !== "accepted"))
    .map(([lane, sent]) => ({ lane, why: sent.at(-1)?.error ?? "no answer" }));
}

function warningsOf({ scenario, stock, deaths, verdict }: Run, counts: Counts): string[] {
  const warnings: string[] = [];
  if (counts.gapsTold > 0 && !scenario.mayTellGaps && !stock) warnings.push("gaps where none is due");
  if (counts.doubledPublications > 0 && scenario.losesRedisData) warnings.push("sent again after Redis forgot it");
  if (counts.repeatedUnnamed > 0) warnings.push(`${counts.repeatedUnnamed} repeated whose id had not come yet`);
  if (deaths > 0) warnings.push(`${deaths} nodes died`);
  if (verdict.vanishedUntold > 0) warnings.push("PUBLISH or NOTIFY vanished untold");
  return warnings;
}

function samplesOf({ verdict, publications, startedAt }: Run): string[] {
  const seconds = (at: number) => `${((at - startedAt) / 1000).toFixed(2)}s`;
  const samples = verdict.clients.flatMap((client) => [
    ...client.lost.map(({ tag, channel, ids, sentAt }) => ({
      kind: "lost",
      at: sentAt,
      text: `${client.client} never heard ${tag} on ${channel} (${ids.join(", ") || "no id known"}), sent at ${seconds(sentAt)}`,
    })),
    ...(["doubledIds", "doubledPublications", "repeatedUnnamed", "inversions", "overheard"] as const).flatMap((kind) =>
      client[kind].map(({ at, what }) => ({ kind, at, text: `${client.client} ${kind} at ${seconds(at)}: ${what}` })),
    ),
  ]);
  // Some of each kind, the earliest first: what comes later mostly follows from it.
  const byKind = Map.groupBy(samples, ({ kind }) => kind);
  const earliest = [...byKind.values()].flatMap((list) =>
    list
      .sort((a, b) => a.at - b.at)
      .slice(0, maxSamples)
      .map(({ text }) => text),
  );
  return [...shutOutLanes(publications).map(({ lane, why }) => `${lane}: ${why}`), ...earliest];
}
