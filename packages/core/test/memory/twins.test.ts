import { expect, test } from "vitest";
import {
  busConformance,
  interestConformance,
  leaseConformance,
  logConformance,
  presenceConformance,
  rosterConformance,
  sessionsConformance,
  tokenBucketConformance,
} from "../../conformance/index.ts";
import {
  MemoryInterestRegistry,
  MemoryLease,
  MemoryLog,
  MemoryPresence,
  MemoryRoster,
  MemorySessions,
  MemoryTokenBucket,
} from "../../src/index.ts";

logConformance("MemoryLog", async () => ({ log: new MemoryLog() }));
busConformance("MemoryLog", async () => {
  const log = new MemoryLog();
  return { log, buses: [log] };
});
leaseConformance("MemoryLease", async () => ({ leases: [new MemoryLease()] }));
sessionsConformance("MemorySessions", async () => {
  const sessions = new MemorySessions();
  return { sessions, elsewhere: sessions };
});
interestConformance("MemoryInterestRegistry", async () => {
  const node = new MemoryInterestRegistry();
  return { node, bridge: node };
});
presenceConformance("MemoryPresence", async () => ({ nodes: [new MemoryPresence("a")] }));
rosterConformance("MemoryRoster", async () => ({ nodes: [new MemoryRoster()] }));
tokenBucketConformance("MemoryTokenBucket", async () => ({ nodes: [new MemoryTokenBucket(10)] }));

const record = { sub: "42", namespace: "/trips", rooms: [], channels: [], replays: [] };

test("beyond their bound the session that was longest untouched goes", async () => {
  const sessions = new MemorySessions(2);
  await sessions.save("a", record);
  await sessions.save("b", record);

  await sessions.touch(["a"]);
  await sessions.save("c", record);

  expect(await sessions.load("a")).toEqual(record);
  expect(await sessions.load("b")).toBeUndefined();
});

test("what is no longer wanted is no longer confirmed", async () => {
  const registry = new MemoryInterestRegistry();
  await registry.want(["a", "b"]);
  await registry.confirm(["a", "b"]);

  await registry.want(["b"]);

  expect([await registry.confirmed("a"), await registry.confirmed("b")]).toEqual([false, true]);
});
