import { startRedis } from "@carillon/testkit";
import type { Bench } from "./bench.ts";
import { Crowd } from "./crowd.ts";
import { product, type StartSubject, stock } from "./subjects.ts";
import { median, spread } from "./table.ts";
import { residentBytes } from "./usage.ts";

const CLIENTS = 5000;
const SETTLE_MS = 10_000;

/** Memory that connections cost which do nothing but be there, subscribed to one channel. */
export const idle: Bench = {
  name: "idle",
  about: `memory per idle connection, ${CLIENTS} connections`,
  async run({ rounds, progress }) {
    const redis = await startRedis();
    const kilobytes: Record<"product" | "stock", number[]> = { product: [], stock: [] };
    try {
      for (let round = 1; round <= rounds; round++) {
        for (const start of [product, stock]) {
          const { name, value } = await perConnection(start, redis.url);
          kilobytes[name].push(value);
          progress(`round ${round} of ${rounds}: ${name} ${value.toFixed(1)} KB`);
        }
      }
    } finally {
      await redis.stop();
    }
    const ratio = median(kilobytes.product) / median(kilobytes.stock);
    return [
      {
        title: `idle: ${CLIENTS} WebSocket connections; KB each, median (range)`,
        columns: ["", "product", "stock", "ratio"],
        rows: [["KB per connection", spread(kilobytes.product), spread(kilobytes.stock), ratio.toFixed(2)]],
      },
    ];
  },
};

async function perConnection(
  start: StartSubject,
  redisUrl: string,
): Promise<{ name: "product" | "stock"; value: number }> {
  const subject = await start(redisUrl);
  await new Promise((resolve) => setTimeout(resolve, 2000));
  const before = residentBytes(subject.pid);
  const crowd = await Crowd.connect(subject.url, CLIENTS, "bench", 1000);
  await new Promise((resolve) => setTimeout(resolve, SETTLE_MS));
  const value = (residentBytes(subject.pid) - before) / CLIENTS / 1024;
  await crowd.close();
  await subject.stop();
  return { name: subject.name, value };
}
