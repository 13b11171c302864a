import { fork } from "node:child_process";
import { fileURLToPath } from "node:url";
import { startRedis } from "@carillon/testkit";
import type { Bench } from "./bench.ts";
import { spread } from "./table.ts";

const program = fileURLToPath(new URL("./append-process.ts", import.meta.url));
const WAYS = ["single, one at a time", "single, 64 at once", "batches of 100"] as const;

/** Publications a second through the append script, from one process and without any node. */
export const append: Bench = {
  name: "append",
  about: "publications a second through the append script, single and batched",
  async run({ rounds, seconds, progress }) {
    const redis = await startRedis();
    const rates = new Map<string, number[]>();
    try {
      for (let round = 1; round <= rounds; round++) {
        for (const way of WAYS) {
          const rate = await measure(redis.url, way, seconds);
          rates.set(way, [...(rates.get(way) ?? []), rate]);
          progress(`round ${round} of ${rounds}: ${way} ${Math.round(rate)}/s`);
        }
      }
    } finally {
      await redis.stop();
    }
    return [
      {
        title: "append: publications a second through the script, median (range)",
        columns: ["way", "publications/s"],
        rows: WAYS.map((way) => [way, spread(rates.get(way) ?? [], 0)]),
      },
    ];
  },
};

function measure(redisUrl: string, way: string, seconds: number): Promise<number> {
  return new Promise((resolve, reject) => {
    const child = fork(program, [redisUrl, way, String(seconds)]);
    child.once("message", (rate) => resolve(Number(rate)));
    child.once("exit", (code) => reject(new Error(`appending ended with ${code}`)));
  });
}
