import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { Redis } from "ioredis";
import { freePort } from "./ports.ts";
import { Service } from "./processes.ts";
import { type RedisServer, type StartRedisOptions, startRedis } from "./redis.ts";
import { tempDir } from "./temp.ts";
import { waitFor } from "./wait.ts";

export interface RedisSentinels {
  /** The name under which the sentinels know the master. */
  name: string;
  /** `host:port,host:port,host:port`, as REDIS_SENTINELS wants it. */
  addresses: string;
  /** Both servers; which of them is the master changes. */
  servers: RedisServer[];
  master(): Promise<RedisServer>;
  /** Has the sentinels promote the replica; resolves when they agree on the new master and it accepts writes. */
  failover(): Promise<RedisServer>;
  stop(): Promise<void>;
}

/** A master, a replica, and three sentinels who call a master dead after a second of silence. */
export async function startSentinel(options: StartRedisOptions = {}): Promise<RedisSentinels> {
  const name = "carillon";
  const master = await startRedis(options);
  const replica = await startRedis({
    ...options,
    args: [...(options.args ?? []), "--replicaof", `127.0.0.1 ${master.port}`],
  });
  const servers = [master, replica];
  const sentinels = await Promise.all([1, 2, 3].map(() => startOneSentinel(name, master.port)));
  const ports = sentinels.map(({ port }) => port);

  const currentMaster = async () => {
    const answers = await Promise.all(
      ports.map((port) => ask(port, ["SENTINEL", "GET-MASTER-ADDR-BY-NAME", name]) as Promise<[string, string]>),
    );
    const [port, ...others] = new Set(answers.map((answer) => Number(answer[1])));
    if (others.length > 0) return undefined;
    return servers.find((server) => server.port === port);
  };
  const agreedMaster = () => waitFor(currentMaster, { what: "the sentinels to agree on a master", timeoutMs: 20_000 });

  await waitFor(
    async () => {
      const states = await Promise.all(
        ports.map((port) => ask(port, ["SENTINEL", "MASTER", name]) as Promise<string[]>),
      );
      return states.every((state) => field(state, "num-slaves") === "1" && field(state, "num-other-sentinels") === "2");
    },
    { what: "the sentinels to find each other and the replica", timeoutMs: 30_000, everyMs: 100 },
  );

  return {
    name,
    addresses: ports.map((port) => `127.0.0.1:${port}`).join(","),
    servers,
    master: agreedMaster,
    async failover() {
      const before = await agreedMaster();
      const asked = ports[0] ?? 0;
      await waitFor(() => ask(asked, ["SENTINEL", "FAILOVER", name]), { what: "a sentinel to begin the failover" });
      return waitFor(
        async () => {
          const now = await currentMaster();
          if (now === undefined || now === before) return undefined;
          const [role] = (await ask(now.port, ["ROLE"])) as string[];
          return role === "master" && now;
        },
        { what: "the sentinels to agree on a new master", timeoutMs: 30_000 },
      );
    },
    async stop() {
      await Promise.all(sentinels.map(({ service }) => service.stop()));
      await Promise.all(servers.map((server) => server.stop()));
    },
  };
}

export interface RedisCluster {
  /** `host:port,host:port,host:port`, as REDIS_CLUSTER_NODES wants it. */
  addresses: string;
  servers: RedisServer[];
  stop(): Promise<void>;
}

/** Three masters with a third of the slots each and no replicas. */
export async function startRedisCluster(options: StartRedisOptions = {}): Promise<RedisCluster> {
  const nodes = await Promise.all(
    [0, 1, 2].map(async () => {
      const busPort = await freePort();
      const args = ["--cluster-enabled", "yes", "--cluster-port", `${busPort}`, "--cluster-node-timeout", "2000"];
      return { busPort, server: await startRedis({ ...options, args: [...(options.args ?? []), ...args] }) };
    }),
  );
  const ranges = [
    [0, 5460],
    [5461, 10922],
    [10923, 16383],
  ];
  const [first, ...others] = nodes.map(({ server }) => server);
  if (first === undefined) throw new Error("a cluster has nodes");
  for (const [index, { server }] of nodes.entries()) {
    await ask(server.port, ["CLUSTER", "ADDSLOTSRANGE", ...(ranges[index] ?? [])]);
    await ask(server.port, ["CLUSTER", "SET-CONFIG-EPOCH", index + 1]);
  }
  for (const { server, busPort } of nodes) {
    if (others.includes(server)) await ask(first.port, ["CLUSTER", "MEET", "127.0.0.1", server.port, busPort]);
  }
  await waitFor(
    async () => {
      const infos = await Promise.all(nodes.map(({ server }) => ask(server.port, ["CLUSTER", "INFO"])));
      return infos.every((info) => /cluster_state:ok[\s\S]*cluster_known_nodes:3/.test(String(info)));
    },
    { what: "the Redis Cluster to agree", timeoutMs: 30_000, everyMs: 50 },
  );
  const servers = nodes.map(({ server }) => server);
  return {
    addresses: servers.map(({ port }) => `127.0.0.1:${port}`).join(","),
    servers,
    async stop() {
      await Promise.all(servers.map((server) => server.stop()));
    },
  };
}

async function startOneSentinel(name: string, masterPort: number): Promise<{ port: number; service: Service }> {
  const port = await freePort();
  const dir = tempDir("sentinel");
  const config = join(dir, "sentinel.conf"); // sentinels write into it what they learn
  await writeFile(
    config,
    [
      `port ${port}`,
      "bind 127.0.0.1",
      `dir ${dir}`,
      `sentinel monitor ${name} 127.0.0.1 ${masterPort} 2`,
      `sentinel down-after-milliseconds ${name} 1000`,
      `sentinel failover-timeout ${name} 5000`,
    ].join("\n"),
  );
  const service = new Service({
    name: `redis-sentinel on port ${port}`,
    command: "redis-sentinel",
    args: [config],
    ready: ({ output }) => output.includes("+monitor master"),
  });
  await service.start();
  return { port, service };
}

/** One command on a connection of its own. */
async function ask(port: number, [command, ...args]: [string, ...(string | number)[]]): Promise<unknown> {
  const client = new Redis(port, "127.0.0.1", { lazyConnect: true, retryStrategy: () => null, connectTimeout: 2_000 });
  client.on("error", () => {});
  try {
    await client.connect();
    return await client.call(command, ...args);
  } finally {
    client.disconnect();
  }
}

function field(flat: string[], name: string): string | undefined {
  return flat[flat.indexOf(name) + 1];
}
