import { freePort, startRedis } from "@carillon/testkit";
import type { Verdict } from "../chaos/checker/check.ts";
import type { Bench } from "./bench.ts";
import { HEALTHY, MARKS, PER_SECOND, runSlow, SLOW, type SlowRun } from "./slow-run.ts";
import { product, stock } from "./subjects.ts";
import { quantile, type Table } from "./table.ts";

const PUBLICATIONS = MARKS[4];
/** At most this much of the second half's payload stays in memory: one copy for all clients is 1, a queue for each is 100. */
const PLATEAU = 0.25;
const AWAY = [
  { name: "1 KiB, less than the ping timeout", bytes: 1024, ping: [25_000, 120_000] },
  { name: "4 KiB, less than the ping timeout", bytes: 4096, ping: [25_000, 120_000] },
  { name: "4 KiB, more than the ping timeout", bytes: 4096, ping: [5000, 5000] },
];

interface Outcome extends SlowRun {
  readonly name: string;
  readonly bytes: number;
}

/** Memory of a node while many clients read nothing, and what these have heard in the end. Loss in silence, doubles and disorder fail it; figures don't. */
export const slow: Bench = {
  name: "slow",
  about: `memory while ${SLOW} clients stop reading and ${PUBLICATIONS} publications pass, and what these hear in the end`,
  async run({ progress }) {
    const redis = await startRedis();
    const outcomes: Outcome[] = [];
    try {
      for (const { name, bytes, ping } of AWAY) {
        for (const start of [product, stock]) {
          const port = await freePort();
          const [interval, timeout] = ping.map(String) as [string, string];
          const subject = await start(redis.url, [`--inspect=127.0.0.1:${port}`], {
            PING_INTERVAL_MS: interval,
            PING_TIMEOUT_MS: timeout,
          });
          progress(`${subject.name}: ${name}`);
          try {
            const run = await runSlow(subject, bytes, port);
            outcomes.push({ name: `${subject.name}: ${name}`, bytes, ...run });
            if (subject.name === "product" && (isBroken(run.slow) || isBroken(run.healthy))) process.exitCode = 1;
          } finally {
            await subject.stop();
          }
        }
      }
    } finally {
      await redis.stop();
    }
    return [memory(outcomes), heard(outcomes), others(outcomes)];
  },
};

function memory(outcomes: readonly Outcome[]): Table {
  return {
    title:
      `slow: ${SLOW} clients stop reading, ${HEALTHY} read on, ${PUBLICATIONS} publications, ${PER_SECOND} a second; MB in use after garbage collection.\n` +
      `Plateau: from ${MARKS[3]} to ${PUBLICATIONS} it grows by less than ${PLATEAU} of what those weigh once; a queue for each client could take ${SLOW}.`,
    columns: ["", ...MARKS.map((mark) => `at ${mark}`), "growth", "plateau", "resident at most"],
    rows: outcomes.map(({ name, bytes, liveBytes, samples }) => {
      const growth = (liveBytes[4] ?? Number.NaN) - (liveBytes[3] ?? Number.NaN);
      return [
        name,
        ...liveBytes.map(mb),
        mb(growth),
        growth < PLATEAU * (MARKS[4] - MARKS[3]) * bytes ? "yes" : "no",
        mb(Math.max(...samples.map(({ residentBytes }) => residentBytes))),
      ];
    }),
  };
}

function heard(outcomes: readonly Outcome[]): Table {
  return {
    title: `slow: what the ${SLOW} clients heard of the ${PUBLICATIONS}, in the end`,
    columns: ["", "whole", "told a gap", "lost in silence", "doubled", "out of order"],
    rows: outcomes.map(({ name, slow }) => [
      name,
      count(slow, ({ delivered }) => delivered === PUBLICATIONS),
      count(slow, ({ told, lost }) => told > 0 && lost.length === 0),
      count(slow, ({ lost }) => lost.length > 0),
      count(slow, ({ doubledIds, doubledPublications }) => doubledIds.length + doubledPublications.length > 0),
      count(slow, ({ inversions }) => inversions.length > 0),
    ]),
  };
}

function others(outcomes: readonly Outcome[]): Table {
  const ms = (values: readonly number[]) => [0.5, 0.99].map((q) => quantile(values, q).toFixed(1)).join(", ");
  return {
    title: `slow: the ${HEALTHY} others, ms from call to client, p50 and p99; and where what was not read is`,
    columns: ["", "before", "while the slow don't read", "all off the live path after", "MB in the kernel, at most"],
    rows: outcomes.map(({ name, samples, alone, beside }) => [
      name,
      ms(alone),
      ms(beside),
      samples.find(({ behind }) => behind === SLOW)?.published ?? "–",
      mb(Math.max(...samples.map(({ kernelBytes }) => kernelBytes))),
    ]),
  };
}

const isBroken = ({ clients }: Verdict): boolean =>
  clients.some(
    ({ lost, doubledIds, doubledPublications, inversions }) =>
      lost.length + doubledIds.length + doubledPublications.length + inversions.length > 0,
  );

const count = ({ clients }: Verdict, holds: (client: Verdict["clients"][number]) => boolean): number =>
  clients.filter(holds).length;

const mb = (bytes: number): string => String(Math.round(bytes / 1e6));
