import { startRedis } from "@carillon/testkit";
import type { Bench, BenchOptions } from "./bench.ts";
import { type ClientKind, Crowd } from "./crowd.ts";
import { product, publish, type Subject } from "./subjects.ts";
import { median, spread } from "./table.ts";
import { cpuMicros, residentBytes } from "./usage.ts";

const KINDS: readonly ClientKind[] = ["socket.io", "ws", "sse"];
const CLIENTS = 500;
const IDLE_CLIENTS = 4000;
const BURSTS = [1, 10];
const PAYLOAD = "x".repeat(58);
const SETTLE_MS = 5000;

interface Sample {
  /** By burst. */
  readonly cpuPerDelivery: readonly number[];
  readonly kilobytes: number;
}

/** What a client costs a node, by the way in which it is connected. */
export const clients: Bench = {
  name: "clients",
  about: "CPU per delivery and memory per connection: Socket.IO's WebSocket, plain WebSocket, server-sent events",
  async run(options) {
    const redis = await startRedis();
    const samples = new Map<ClientKind, Sample[]>(KINDS.map((kind) => [kind, []]));
    try {
      for (let round = 1; round <= options.rounds; round++) {
        for (const kind of KINDS) {
          options.progress(`round ${round} of ${options.rounds}: ${kind}`);
          samples.get(kind)!.push(await measure(kind, redis.url, options));
        }
      }
    } finally {
      await redis.stop();
    }
    const figures = (kind: ClientKind) => [
      ...BURSTS.map((_, i) => samples.get(kind)!.map(({ cpuPerDelivery }) => cpuPerDelivery[i] ?? Number.NaN)),
      samples.get(kind)!.map(({ kilobytes }) => kilobytes),
    ];
    const base = figures("socket.io").map(median);
    return [
      {
        title: "clients: what one costs a node, median (range), and the ratio to Socket.IO's WebSocket",
        columns: [
          "kind",
          ...BURSTS.flatMap((burst) => [`CPU µs per delivery, bursts of ${burst}`, "ratio"]),
          "KB when idle",
          "ratio",
        ],
        rows: KINDS.map((kind) => [
          kind,
          ...figures(kind).flatMap((values, i) => [spread(values), (median(values) / (base[i] ?? 1)).toFixed(2)]),
        ]),
      },
    ];
  },
};

async function measure(kind: ClientKind, redisUrl: string, { seconds }: BenchOptions): Promise<Sample> {
  const subject = await product(redisUrl);
  const crowd = await Crowd.connect(subject.url, CLIENTS, "bench", { kind });
  const cpuPerDelivery: number[] = [];
  for (const burst of BURSTS) {
    await cpuOf(subject, crowd, burst, seconds / 3);
    cpuPerDelivery.push(await cpuOf(subject, crowd, burst, seconds));
  }
  await crowd.close();
  const before = residentBytes(subject.pid);
  const sleepers = await Crowd.connect(subject.url, IDLE_CLIENTS, "bench", { kind, perSecond: 1000 });
  await new Promise((resolve) => setTimeout(resolve, SETTLE_MS));
  const kilobytes = (residentBytes(subject.pid) - before) / IDLE_CLIENTS / 1024;
  await sleepers.close();
  await subject.stop();
  return { cpuPerDelivery, kilobytes };
}

async function cpuOf(subject: Subject, crowd: Crowd, burst: number, seconds: number): Promise<number> {
  const cpu = cpuMicros(subject.pid);
  const began = performance.now();
  let events = 0;
  while (performance.now() - began < seconds * 1000) {
    await Promise.all([publish(subject, "bench", PAYLOAD, burst), crowd.receive(burst)]);
    events += burst;
  }
  return (cpuMicros(subject.pid) - cpu) / (events * crowd.size);
}
