import { type Client, connect, startRedis } from "@carillon/testkit";
import type { Bench } from "./bench.ts";
import { product, publish, type StartSubject, stock } from "./subjects.ts";
import { median, quantile, spread } from "./table.ts";

const PER_SECOND = 20;
const CHANNEL = "bench";

interface Sample {
  readonly p50: number;
  readonly p99: number;
}

/** From a REST call at one node to a client's event on another, when there is little to do. */
export const hop: Bench = {
  name: "hop",
  about: `publish at one node, receive at another, ${PER_SECOND} a second`,
  async run({ rounds, seconds, progress }) {
    const redis = await startRedis();
    const samples: Record<"product" | "stock", Sample[]> = { product: [], stock: [] };
    try {
      for (let round = 1; round <= rounds; round++) {
        for (const start of [product, stock]) {
          const { name, milliseconds } = await measure(start, redis.url, seconds);
          samples[name].push({ p50: quantile(milliseconds, 0.5), p99: quantile(milliseconds, 0.99) });
          progress(`round ${round} of ${rounds}: ${name} ${samples[name].at(-1)?.p50.toFixed(2)} ms`);
        }
      }
    } finally {
      await redis.stop();
    }
    const row = (what: keyof Sample) => {
      const [ours, theirs] = [samples.product, samples.stock].map((list) => list.map((sample) => sample[what]));
      return [
        what,
        spread(ours ?? [], 2),
        spread(theirs ?? [], 2),
        (median(ours ?? []) / median(theirs ?? [])).toFixed(2),
      ];
    };
    return [
      {
        title: `hop: publish at one node, receive at another; ms, median (range) of ${rounds} rounds`,
        columns: ["", "product", "stock", "ratio"],
        rows: [row("p50"), row("p99")],
      },
    ];
  },
};

async function measure(
  start: StartSubject,
  redisUrl: string,
  seconds: number,
): Promise<{ name: "product" | "stock"; milliseconds: number[] }> {
  const [near, far] = await Promise.all([start(redisUrl), start(redisUrl)]);
  const client = connect(far.url, "/channels", { transports: ["websocket"] });
  await subscribed(client);
  const milliseconds: number[] = [];
  let heard = () => {};
  client.socket.on("notification", ({ payload }: { payload: { at: number } }) => {
    milliseconds.push(performance.now() - payload.at);
    heard();
  });
  const once = async () => {
    const arrived = new Promise<void>((resolve) => {
      heard = resolve;
    });
    await Promise.all([publish(near, CHANNEL, { at: performance.now() }, 1), arrived]);
  };
  for (let i = 0; i < 50; i++) await once(); // warms up
  milliseconds.length = 0;
  for (let i = 0; i < seconds * PER_SECOND; i++) {
    await once();
    await new Promise((resolve) => setTimeout(resolve, 1000 / PER_SECOND));
  }
  client.close();
  await Promise.all([near.stop(), far.stop()]);
  return { name: near.name, milliseconds };
}

async function subscribed(client: Client): Promise<void> {
  await new Promise<void>((resolve) => client.socket.once("connect", () => resolve()));
  await client.ask("subscribe", { channel: CHANNEL });
}
