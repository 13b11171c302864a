import { NodeServer, startRedis } from "@carillon/testkit";
import { Redis } from "ioredis";
import type { Bench, BenchOptions } from "./bench.ts";
import { Crowd } from "./crowd.ts";
import { publish } from "./subjects.ts";
import type { Table } from "./table.ts";
import { cpuMicros } from "./usage.ts";

const NODES = [1, 2, 4];
const CLIENTS_PER_NODE = 100;
const BURST = 10;
const PAYLOAD = "x".repeat(300);

interface Cluster {
  readonly nodes: readonly NodeServer[];
  readonly redis: Redis;
}

/** What another node costs: every node hears every publication, whether or not anybody there wants it. */
export const scale: Bench = {
  name: "scale",
  about: `${NODES.join(", ")} nodes: deliveries, CPU for publications that nobody on a node wants, traffic of Redis`,
  async run(options) {
    const server = await startRedis();
    const redis = new Redis(server.url);
    const rows: Table["rows"][number][] = [];
    try {
      for (const count of NODES) {
        const nodes = Array.from(
          { length: count },
          () => new NodeServer({ REDIS_URL: server.url, REDIS_PREFIX: `scale-${count}`, CONNECTS_PER_S: "100000" }),
        );
        await Promise.all(nodes.map((node) => node.start()));
        rows.push(await row({ nodes, redis }, options));
        options.progress(`${count} nodes: ${rows.at(-1)?.join(", ")}`);
        await Promise.all(nodes.map((node) => node.stop()));
      }
    } finally {
      redis.disconnect();
      await server.stop();
    }
    return [
      {
        title: `scale: ${CLIENTS_PER_NODE} clients a node; all share this machine's cores`,
        columns: [
          "nodes",
          "deliveries/s",
          "CPU µs per unwanted publication and node",
          "Redis out, bytes per publication",
        ],
        rows,
      },
    ];
  },
};

async function row(cluster: Cluster, { seconds }: BenchOptions): Promise<Table["rows"][number]> {
  const unwanted = await unwantedCost(cluster, seconds);
  const { nodes } = cluster;
  const crowds = await Promise.all(nodes.map(({ url }) => Crowd.connect(url, CLIENTS_PER_NODE, "wanted")));
  const began = performance.now();
  let events = 0;
  while (performance.now() - began < seconds * 1000) {
    await Promise.all([publish(nodes[0]!, "wanted", PAYLOAD, BURST), ...crowds.map((crowd) => crowd.receive(BURST))]);
    events += BURST;
  }
  const perSecond = (events * nodes.length * CLIENTS_PER_NODE) / ((performance.now() - began) / 1000);
  await Promise.all(crowds.map((crowd) => crowd.close()));
  return [
    nodes.length,
    Math.round(perSecond),
    Number.isNaN(unwanted.micros) ? "–" : unwanted.micros.toFixed(0),
    Math.round(unwanted.bytes),
  ];
}

/** Of the nodes that only listen; with a single one there is none, and its own share can't be told from publishing. */
async function unwantedCost({ nodes, redis }: Cluster, seconds: number): Promise<{ micros: number; bytes: number }> {
  const listeners = nodes.slice(1);
  const cpu = () => listeners.reduce((sum, { pid }) => sum + cpuMicros(pid), 0);
  const out = async () => Number(/total_net_output_bytes:(\d+)/.exec(await redis.info("stats"))?.[1]);
  const [cpuBefore, outBefore, began] = [cpu(), await out(), performance.now()];
  let published = 0;
  while (performance.now() - began < seconds * 1000) {
    await publish(nodes[0]!, "unwanted", PAYLOAD, 100);
    published += 100;
  }
  return {
    micros: listeners.length === 0 ? Number.NaN : (cpu() - cpuBefore) / published / listeners.length,
    bytes: ((await out()) - outBefore) / published,
  };
}
