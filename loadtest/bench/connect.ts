import { startRedis } from "@carillon/testkit";
import type { Bench } from "./bench.ts";
import { Crowd } from "./crowd.ts";
import { product, type StartSubject, stock } from "./subjects.ts";
import { median, spread } from "./table.ts";
import { cpuMicros } from "./usage.ts";

const CLIENTS = 2000;

interface Sample {
  readonly perSecond: number;
  readonly cpuMs: number;
}

/** WebSocket handshakes as fast as one node bears: transport, namespace, one subscription. */
export const connect: Bench = {
  name: "connect",
  about: `handshakes a second of one node, and their CPU, ${CLIENTS} clients`,
  async run({ rounds, progress }) {
    const redis = await startRedis();
    const samples: Record<"product" | "stock", Sample[]> = { product: [], stock: [] };
    try {
      for (let round = 1; round <= rounds; round++) {
        for (const start of [product, stock]) {
          const { name, sample } = await measure(start, redis.url);
          samples[name].push(sample);
          progress(`round ${round} of ${rounds}: ${name} ${Math.round(sample.perSecond)}/s`);
        }
      }
    } finally {
      await redis.stop();
    }
    const row = (what: string, of: (sample: Sample) => number, digits: number) => {
      const [ours, theirs] = [samples.product.map(of), samples.stock.map(of)];
      return [what, spread(ours, digits), spread(theirs, digits), (median(ours) / median(theirs)).toFixed(2)];
    };
    return [
      {
        title: `connect: ${CLIENTS} clients, each subscribes to one channel; median (range)`,
        columns: ["", "product", "stock", "ratio"],
        rows: [row("handshakes/s", (s) => s.perSecond, 0), row("CPU ms each", (s) => s.cpuMs, 2)],
      },
    ];
  },
};

async function measure(start: StartSubject, redisUrl: string): Promise<{ name: "product" | "stock"; sample: Sample }> {
  const subject = await start(redisUrl);
  // Once to warm up.
  await (await Crowd.connect(subject.url, 200, "bench")).close();
  const cpu = cpuMicros(subject.pid);
  const began = performance.now();
  const crowd = await Crowd.connect(subject.url, CLIENTS, "bench", { perSecond: 1_000_000 });
  const seconds = (performance.now() - began) / 1000;
  const cpuMs = (cpuMicros(subject.pid) - cpu) / 1000 / CLIENTS;
  await crowd.close();
  await subject.stop();
  return { name: subject.name, sample: { perSecond: CLIENTS / seconds, cpuMs } };
}
