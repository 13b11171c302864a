import { startRedis, waitFor } from "@carillon/testkit";
import type { Bench } from "./bench.ts";
import { Crowd } from "./crowd.ts";
import { product, publish, type StartSubject, type Subject, stock } from "./subjects.ts";
import { median, spread } from "./table.ts";

const CLIENTS = 10_000;
const BROADCASTS = 10;
const PROBE = new URL("./stall-probe.ts", import.meta.url).href;

/** For how long nothing else gets its turn while one event goes to many sockets of a node. */
export const stall: Bench = {
  name: "stall",
  about: `longest stall of the event loop in a broadcast to ${CLIENTS} local sockets`,
  async run({ rounds, progress }) {
    const redis = await startRedis();
    const milliseconds: Record<"product" | "stock", number[]> = { product: [], stock: [] };
    try {
      for (let round = 1; round <= rounds; round++) {
        for (const start of [product, stock]) {
          const { name, longest } = await stalls(start, redis.url);
          milliseconds[name].push(longest);
          progress(`round ${round} of ${rounds}: ${name} ${longest.toFixed(1)} ms`);
        }
      }
    } finally {
      await redis.stop();
    }
    const ratio = median(milliseconds.product) / median(milliseconds.stock);
    return [
      {
        title: `stall: one event to ${CLIENTS} WebSockets, ${BROADCASTS} times; ms, median (range)`,
        columns: ["", "product", "stock", "ratio"],
        rows: [["longest stall", spread(milliseconds.product), spread(milliseconds.stock), ratio.toFixed(2)]],
      },
    ];
  },
};

/** The median of the broadcasts' longest stalls: a single one may be the machine's. */
async function stalls(start: StartSubject, redisUrl: string): Promise<{ name: Subject["name"]; longest: number }> {
  const subject = await start(redisUrl, [`--import=${PROBE}`]);
  const crowd = await Crowd.connect(subject.url, CLIENTS, "bench", { perSecond: 1000 });
  const found: number[] = [];
  for (let i = 0; i <= BROADCASTS; i++) {
    await sinceLast(subject);
    await Promise.all([publish(subject, "bench", "x".repeat(58), 1), crowd.receive(1)]);
    found.push(await sinceLast(subject));
  }
  await crowd.close();
  await subject.stop();
  // The first warms up.
  return { name: subject.name, longest: median(found.slice(1)) };
}

async function sinceLast(subject: Subject): Promise<number> {
  const told = () => [...subject.output().matchAll(/^stall ([\d.]+) ms$/gm)].map(([, ms]) => Number(ms));
  const before = told().length;
  process.kill(subject.pid, "SIGUSR2");
  await waitFor(() => told().length > before, { what: "the probe's answer" });
  return told().at(-1) ?? Number.NaN;
}
