import { startRedis } from "@carillon/testkit";
import type { Bench } from "./bench.ts";
import { Crowd } from "./crowd.ts";
import { product, productUntuned, type StartSubject, stock } from "./subjects.ts";
import { median, spread } from "./table.ts";
import { residentBytes } from "./usage.ts";

const CLIENTS = 10_000;
const SETTLE_MS = 10_000;
const SUBJECTS = [
  ["product", product],
  ["product without --max-semi-space-size", productUntuned],
  ["stock", stock],
] as const;

/** Memory that connections cost which do nothing but be there, subscribed to one channel. */
export const idle: Bench = {
  name: "idle",
  about: `memory per idle connection, ${CLIENTS} connections`,
  async run({ rounds, progress }) {
    const redis = await startRedis();
    const kilobytes = new Map<string, number[]>(SUBJECTS.map(([name]) => [name, []]));
    try {
      for (let round = 1; round <= rounds; round++) {
        for (const [name, start] of SUBJECTS) {
          const value = await perConnection(start, redis.url);
          kilobytes.get(name)!.push(value);
          progress(`round ${round} of ${rounds}: ${name} ${value.toFixed(1)} KB`);
        }
      }
    } finally {
      await redis.stop();
    }
    const ofStock = median(kilobytes.get("stock")!);
    return [
      {
        title: `idle: ${CLIENTS} WebSocket connections; KB each, median (range)`,
        columns: ["", "KB per connection", "ratio to stock"],
        rows: [...kilobytes].map(([name, values]) => [name, spread(values), (median(values) / ofStock).toFixed(2)]),
      },
    ];
  },
};

async function perConnection(start: StartSubject, redisUrl: string): Promise<number> {
  const subject = await start(redisUrl);
  await new Promise((resolve) => setTimeout(resolve, 2000));
  const before = residentBytes(subject.pid);
  const crowd = await Crowd.connect(subject.url, CLIENTS, "bench", { perSecond: 1000 });
  await new Promise((resolve) => setTimeout(resolve, SETTLE_MS));
  const value = (residentBytes(subject.pid) - before) / CLIENTS / 1024;
  await crowd.close();
  await subject.stop();
  return value;
}
