import { startRedis } from "@carillon/testkit";
import type { Bench } from "./bench.ts";
import { Crowd } from "./crowd.ts";
import { product, publish, type StartSubject, stock } from "./subjects.ts";
import { median, spread, type Table } from "./table.ts";
import { cpuMicros } from "./usage.ts";

const CLIENTS = 500;
const BURSTS = [1, 3, 10, 100];
const PAYLOADS = [60, 1024, 16_384];
const CHANNEL = "bench";
const WARM_UP_EVENTS = 200;

interface Sample {
  readonly cpuPerDelivery: number;
  readonly perSecond: number;
}

/** One node, 500 WebSocket clients on one channel, bursts in a closed loop: publish, wait until all have all, again. */
export const fanout: Bench = {
  name: "fanout",
  about: "CPU per delivery and deliveries a second of one node, by burst and payload",
  async run({ rounds, seconds, progress }) {
    const redis = await startRedis();
    const samples = new Map<string, Sample[]>();
    try {
      for (let round = 1; round <= rounds; round++) {
        for (const start of [product, stock]) {
          progress(`round ${round} of ${rounds}: ${start === product ? "product" : "stock"}`);
          await oneSubject(start, redis.url, seconds, samples);
        }
      }
    } finally {
      await redis.stop();
    }
    return [toTable(samples)];
  },
};

async function oneSubject(
  start: StartSubject,
  redisUrl: string,
  seconds: number,
  samples: Map<string, Sample[]>,
): Promise<void> {
  const subject = await start(redisUrl);
  const crowd = await Crowd.connect(subject.url, CLIENTS, CHANNEL);
  // What is measured is how it runs for hours, not how it is compiled; later measurements warm up for their own burst and payload.
  for (let i = 0; i < WARM_UP_EVENTS; i++)
    await Promise.all([publish(subject, CHANNEL, "x".repeat(58), 1), crowd.receive(1)]);
  for (const bytes of PAYLOADS) {
    for (const burst of BURSTS) {
      if (burst * bytes > 200_000) continue;
      const payload = "x".repeat(bytes - 2);
      await measure(subject, crowd, payload, burst, seconds / 3);
      const key = `${subject.name} ${burst} ${bytes}`;
      samples.set(key, [...(samples.get(key) ?? []), await measure(subject, crowd, payload, burst, seconds)]);
    }
  }
  await crowd.close();
  await subject.stop();
}

async function measure(
  subject: { url: string; pid: number },
  crowd: Crowd,
  payload: string,
  burst: number,
  seconds: number,
): Promise<Sample> {
  const cpu = cpuMicros(subject.pid);
  const began = performance.now();
  let events = 0;
  while (performance.now() - began < seconds * 1000) {
    await Promise.all([publish(subject, CHANNEL, payload, burst), crowd.receive(burst)]);
    events += burst;
  }
  const deliveries = events * crowd.size;
  return {
    cpuPerDelivery: (cpuMicros(subject.pid) - cpu) / deliveries,
    perSecond: deliveries / ((performance.now() - began) / 1000),
  };
}

function toTable(samples: ReadonlyMap<string, readonly Sample[]>): Table {
  const rows: (string | number)[][] = [];
  for (const bytes of PAYLOADS) {
    for (const burst of BURSTS) {
      const ours = samples.get(`product ${burst} ${bytes}`);
      const theirs = samples.get(`stock ${burst} ${bytes}`);
      if (ours === undefined || theirs === undefined) continue;
      const [cpu, stockCpu] = [ours, theirs].map((list) => list.map((sample) => sample.cpuPerDelivery));
      const ratio = median(cpu ?? []) / median(stockCpu ?? []);
      rows.push([
        `${bytes} B × ${burst}`,
        spread(cpu ?? []),
        spread(stockCpu ?? []),
        ratio.toFixed(2),
        Math.round(median(ours.map((sample) => sample.perSecond))),
        Math.round(median(theirs.map((sample) => sample.perSecond))),
      ]);
    }
  }
  return {
    title: `fanout: one node, ${CLIENTS} clients; CPU µs per delivery, median (range)`,
    columns: ["payload × burst", "product", "stock", "ratio", "deliveries/s", "stock"],
    rows,
  };
}
