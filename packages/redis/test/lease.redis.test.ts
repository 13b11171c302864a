import { type RedisServer, startRedis, waitFor } from "@carillon/testkit";
import { afterAll, beforeAll, expect, onTestFinished, test } from "vitest";
import { connectRedis, RedisLease } from "../src/index.ts";

let redis: RedisServer;

beforeAll(async () => {
  redis = await startRedis();
});
afterAll(() => redis.stop());

function makeLease(prefix: string) {
  const connections = connectRedis({ url: redis.url, prefix });
  const lease = new RedisLease(connections, { name: "relay", ttlMs: 1_000 });
  const told: boolean[] = [];
  lease.onChange((held) => told.push(held));
  lease.start();
  onTestFinished(async () => {
    await lease.stop();
    connections.close();
  });
  return { lease, told, connections };
}

test("a holder that can't renew steps down before anybody else can take over", async () => {
  const { lease, told } = makeLease("frozen");
  await waitFor(() => lease.held, { what: "the lease" });

  redis.freeze();
  const frozenAt = performance.now();
  await waitFor(() => !lease.held, { what: "the holder to step down", everyMs: 5 });
  expect(performance.now() - frozenAt).toBeLessThan(900);
  await waitFor(() => told.length === 2, { what: "the holder to be told" });
  redis.thaw();

  await waitFor(() => lease.held, { what: "the lease again" });
  expect(told).toEqual([true, false, true]);
});

test("a holder's death is followed by another within the lease's lifetime", async () => {
  const dead = makeLease("dead");
  await waitFor(() => dead.lease.held, { what: "the first to hold it" });
  const other = makeLease("dead");

  dead.connections.close(); // without release

  await waitFor(() => other.lease.held, { what: "the second to hold it", timeoutMs: 2_500 });
  expect(dead.lease.held).toBe(false);
});

test("a holder that lost its key to another knows it at the next renewal", async () => {
  const { lease, connections } = makeLease("taken");
  await waitFor(() => lease.held, { what: "the lease" });

  await connections.commands.redis.set(connections.names.lease("relay"), "somebody else", "PX", 60_000);

  await waitFor(() => !lease.held, { what: "the holder to notice", timeoutMs: 500 });
});

test("stopping lets go at once", async () => {
  const { lease, connections } = makeLease("stopped");
  await waitFor(() => lease.held, { what: "the lease" });

  await lease.stop();

  expect(lease.held).toBe(false);
  expect(await connections.commands.redis.exists(connections.names.lease("relay"))).toBe(0);
});
