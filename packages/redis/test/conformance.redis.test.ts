import {
  busConformance,
  interestConformance,
  leaseConformance,
  logConformance,
  presenceConformance,
  rosterConformance,
  sessionsConformance,
  tokenBucketConformance,
} from "@carillon/core/conformance";
import { sharedRedis } from "@carillon/testkit";
import {
  connectRedis,
  RedisBus,
  RedisInterestRegistry,
  RedisLease,
  RedisLog,
  RedisPresence,
  RedisRoster,
  RedisSessions,
  RedisTokenBucket,
} from "../src/index.ts";

const limits = { retentionS: 60, maxEntries: 10_000 };

logConformance("RedisLog", async () => {
  const connections = connectRedis(await sharedRedis());
  const log = new RedisLog(connections, limits);
  return {
    log,
    // As a Redis that came back under another run id.
    restart: () =>
      connections.commands.run(async (redis) => void (await redis.hset(connections.names.meta, "run", "another"))),
    close: async () => connections.close(),
  };
});

busConformance("RedisBus", async () => {
  const at = await sharedRedis();
  const nodes = ["a", "b", "c"].map((nodeId) => {
    const connections = connectRedis(at);
    const log = new RedisLog(connections, limits);
    return { connections, log, bus: new RedisBus(connections, log, { nodeId, heartbeatMs: 200 }) };
  });
  const [first] = nodes;
  if (first === undefined) throw new Error("no nodes");
  return {
    log: first.log,
    buses: nodes.map(({ bus }) => bus),
    async start() {
      for (const { bus } of nodes) bus.start();
    },
    async close() {
      for (const { bus, connections } of nodes) {
        bus.stop();
        connections.close();
      }
    },
  };
});

leaseConformance("RedisLease", async () => {
  const at = await sharedRedis();
  const nodes = [1, 2, 3].map(() => {
    const connections = connectRedis(at);
    return { connections, lease: new RedisLease(connections, { name: "relay", ttlMs: 1_000 }) };
  });
  return {
    leases: nodes.map(({ lease }) => lease),
    async start() {
      for (const { lease } of nodes) lease.start();
    },
    async close() {
      for (const { lease, connections } of nodes) {
        await lease.stop();
        connections.close();
      }
    },
  };
});

sessionsConformance("RedisSessions", async () => {
  const at = await sharedRedis();
  const [one, other] = [connectRedis(at), connectRedis(at)];
  return {
    sessions: new RedisSessions(one, { ttlS: 60 }),
    elsewhere: new RedisSessions(other, { ttlS: 60 }),
    async close() {
      one.close();
      other.close();
    },
  };
});

interestConformance("RedisInterestRegistry", async () => {
  const at = await sharedRedis();
  const nodes = [connectRedis(at), connectRedis(at)].map((connections) => {
    const registry = new RedisInterestRegistry(connections);
    registry.start();
    return { connections, registry };
  });
  const [node, bridge] = nodes;
  if (node === undefined || bridge === undefined) throw new Error("no nodes");
  return {
    node: node.registry,
    bridge: bridge.registry,
    async close() {
      for (const { connections, registry } of nodes) {
        registry.stop();
        connections.close();
      }
    },
  };
});

presenceConformance("RedisPresence", async () => {
  const connections = connectRedis(await sharedRedis());
  return {
    nodes: ["a", "b", "c"].map((node) => new RedisPresence(connections, { node, leaseMs: 1500 })),
    lose: () =>
      connections.commands.run(async (redis) => void (await redis.del(connections.names.key("presence:of:a")))),
    close: async () => connections.close(),
  };
});

rosterConformance("RedisRoster", async () => {
  const connections = connectRedis(await sharedRedis());
  return {
    nodes: ["a", "b"].map((node) => new RedisRoster(connections, { name: "nodes", node, lifetimeMs: 1500 })),
    close: async () => connections.close(),
  };
});

tokenBucketConformance("RedisTokenBucket", async () => {
  const connections = connectRedis(await sharedRedis());
  return {
    nodes: [1, 2].map(() => new RedisTokenBucket(connections, { name: "push", perSecond: 10 })),
    close: async () => connections.close(),
  };
});
