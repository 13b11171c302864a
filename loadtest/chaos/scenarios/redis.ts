/** Redis that dies, hangs, fails over, or drops its subscribers. */
import { flap } from "./clients.ts";
import type { Scenario, Stage } from "./scenario.ts";

/** Once, on a connection of its own. */
export async function commandRedis(stage: Stage, command: string, ...args: string[]): Promise<unknown> {
  const client = stage.stack.redis.client();
  try {
    return await client.call(command, ...args);
  } finally {
    client.disconnect();
  }
}

export async function killRedis(stage: Stage, awayMs: number): Promise<void> {
  const { redis } = stage.stack;
  stage.note("SIGKILL Redis");
  await redis.kill();
  await stage.pause(awayMs);
  await redis.start();
}

export async function killSubscribers(stage: Stage): Promise<void> {
  stage.note("CLIENT KILL TYPE pubsub");
  await commandRedis(stage, "CLIENT", "KILL", "TYPE", "pubsub");
}

export async function freezeRedis(stage: Stage, ms: number): Promise<void> {
  stage.note(`SIGSTOP Redis for ${ms} ms`);
  stage.stack.redis.freeze();
  await stage.pause(ms);
  stage.stack.redis.thaw();
}

/** Some clients are away when Redis forgets: what all others heard live cannot be repaired for them. */
const awayShare = 0.2;
const lostTailMs = 1_200;
const burst = { count: 800, bytes: 4_000 };

export const redisScenarios: readonly Scenario[] = [
  {
    name: "redis-sigkill-aof",
    about: "Redis is killed and comes back with everything (append-only file, flushed always)",
    redis: { appendonly: "always" },
    mayTellGaps: true,
    async play(stage) {
      await killRedis(stage, stage.random.between(300, 1_500));
      await stage.pause(3_000);
    },
  },
  {
    name: "redis-sigkill-rdb",
    about: "Redis is killed and comes back as it was at its last snapshot",
    redis: { rdb: true },
    mayTellGaps: true,
    losesRedisData: true,
    async play(stage) {
      await commandRedis(stage, "BGSAVE");
      await stage.pause(1_200);
      await flap(stage, awayShare);
      await stage.pause(300);
      await killRedis(stage, 500);
      await stage.pause(3_000);
    },
  },
  {
    name: "redis-sigkill-empty",
    about: "Redis is killed and comes back with nothing",
    redis: {},
    mayTellGaps: true,
    losesRedisData: true,
    async play(stage) {
      await flap(stage, awayShare);
      await stage.pause(300);
      await killRedis(stage, 500);
      await stage.pause(3_000);
    },
  },
  {
    name: "redis-frozen",
    about: "Redis stands still for 8 s (4 s in the short form)",
    mayTellGaps: true,
    async play(stage) {
      await freezeRedis(stage, stage.short ? 4_000 : 8_000);
      await stage.pause(3_000);
    },
  },
  {
    name: "sentinel-failover",
    about: "the master dies with publications that its replica never got, and Sentinel promotes the replica",
    redis: { appendonly: "everysec" },
    sentinel: true,
    mayTellGaps: true,
    losesRedisData: true,
    async play(stage) {
      const { sentinels } = stage.stack;
      if (sentinels === undefined) throw new Error("there are no sentinels");
      const master = await sentinels.master();
      const replica = sentinels.servers.find((server) => server !== master);
      if (replica === undefined) throw new Error("there is no replica");
      stage.note("the replica falls behind");
      const client = master.client();
      // Cut off and frozen before it can come back: what was under way in the socket would still reach it.
      replica.freeze();
      await client.call("CLIENT", "KILL", "TYPE", "replica");
      client.disconnect();
      await stage.pause(lostTailMs);
      await flap(stage, awayShare);
      await stage.pause(300);
      stage.note("SIGKILL the master");
      await master.kill();
      replica.thaw();
      await stage.pause(6_000);
      await master.start();
      await stage.pause(4_000);
    },
  },
  {
    name: "subscriber-killed",
    about: "Redis closes every subscriber's connection (CLIENT KILL TYPE pubsub)",
    mayTellGaps: true,
    async play(stage) {
      await killSubscribers(stage);
      await stage.pause(2_000);
    },
  },
  {
    name: "subscription-dropped",
    about: "one node's subscriptions go away without a word (PUNSUBSCRIBE slipped into its connection)",
    mayTellGaps: true,
    async play(stage) {
      const { node, redisLink } = stage.random.pick(stage.stack.placed);
      stage.note(`${node.name} is subscribed to nothing any more (${redisLink?.dropSubscriptions()} connections)`);
      await stage.pause(6_000);
    },
  },
  {
    name: "output-buffer-overflow",
    about: "bursts that overflow the subscribers' output buffers, so that Redis drops them",
    redis: { args: ["--client-output-buffer-limit", "pubsub", "64kb", "32kb", "1"] },
    mayTellGaps: true,
    async play(stage) {
      const status = await stage.rest.noise(burst.count, burst.bytes);
      stage.note(`a burst of ${burst.count} messages of ${burst.bytes} bytes, answered ${status}`);
      await stage.pause(2_500);
      const dropped = stage.stack.redis.output.split("overcoming of output buffer limits").length - 1;
      stage.note(`Redis has dropped ${dropped} connections so far`);
    },
  },
];
