import { readFile } from "node:fs/promises";
import { expect, onTestFinished, test } from "vitest";
import {
  type RedisServer,
  type StartRedisOptions,
  sharedRedis,
  startRedis,
  startRedisCluster,
  startSentinel,
} from "../src/index.ts";

test("what was fsynced survives SIGKILL, and wipe forgets it", async () => {
  const redis = await started({ appendonly: "always" });
  const client = clientOf(redis);
  await client.set("a", 1);

  await redis.kill();
  await redis.start();
  const after = await client.get("a");
  await redis.wipe();

  expect(after).toBe("1");
  expect(await client.get("a")).toBeNull();
});

test("a frozen Redis answers when it is thawed", async () => {
  const redis = await started();
  const client = clientOf(redis);
  await client.ping();

  redis.freeze();
  const early = await Promise.race([client.ping(), new Promise((resolve) => setTimeout(resolve, 200, "silence"))]);
  redis.thaw();

  expect(early).toBe("silence");
  expect(await client.ping()).toBe("PONG");
});

test("password and TLS are asked for", async () => {
  const redis = await started({ password: "se:cret", tls: true });

  expect(redis.url).toBe(`rediss://:se%3Acret@127.0.0.1:${redis.port}`);
  expect(await readFile(redis.caFile ?? "", "utf8")).toContain("BEGIN CERTIFICATE");
  expect(await clientOf(redis).ping()).toBe("PONG");
});

test("sentinels promote the replica, when told and when the master dies", async () => {
  const group = await startSentinel();
  onTestFinished(() => group.stop());
  const first = await group.master();

  const second = await group.failover();
  expect(second.port).not.toBe(first.port);
  await second.kill();

  await expect.poll(() => group.master(), { timeout: 30_000 }).toBe(first);
});

test("a cluster serves every slot", async () => {
  const cluster = await startRedisCluster();
  onTestFinished(() => cluster.stop());
  const [first] = cluster.servers as [RedisServer];

  expect(await clientOf(first).cluster("INFO")).toContain("cluster_slots_ok:16384");
});

test("the shared Redis gives everybody a prefix of their own", async () => {
  const [one, two] = [await sharedRedis(), await sharedRedis()];

  expect(one.url).toBe(two.url);
  expect(one.prefix).not.toBe(two.prefix);
});

async function started(options?: StartRedisOptions): Promise<RedisServer> {
  const redis = await startRedis(options);
  onTestFinished(() => redis.stop());
  return redis;
}

function clientOf(redis: RedisServer) {
  const client = redis.client();
  onTestFinished(() => client.disconnect());
  return client;
}
