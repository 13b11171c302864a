import { parseId } from "@carillon/protocol";
import { expect, test } from "vitest";
import { MemoryLog } from "../../src/index.ts";
import { message } from "../support.ts";

const draft = message("chat", 1);
const oldest = { epoch: 0, n: 0 };

async function numbers(log: MemoryLog): Promise<number[]> {
  const { entries } = await log.read(oldest, 10_000);
  return entries.map(({ id }) => parseId(id)!.n);
}

test("it keeps the newest, by number", async () => {
  const log = new MemoryLog({ maxEntries: 3 });

  for (let i = 0; i < 10; i++) await log.append([{ draft }]);
  await log.append([{ draft }, { draft }, { draft }, { draft }, { draft }]);

  expect(await numbers(log)).toEqual([13, 14, 15]);
  expect((await log.head()).n).toBe(15);
});

test("it keeps the newest, by age", async () => {
  let nowMs = 1_000_000;
  const log = new MemoryLog({ retentionMs: 1000, now: () => nowMs });

  for (let i = 0; i < 5; i++) {
    await log.append([{ draft }]);
    nowMs += 400;
  }

  expect(await numbers(log)).toEqual([3, 4, 5]);
});

test("it keeps the newest, by size, and one at least", async () => {
  const log = new MemoryLog({ maxBytes: 10_000 });

  for (let i = 0; i < 10; i++) await log.append([{ draft: message("chat", "x".repeat(2000)) }]);
  expect(await numbers(log)).toEqual([9, 10]);
  await log.append([{ draft: message("chat", "x".repeat(20_000)) }]);

  expect(await numbers(log)).toEqual([11]);
});

test("reads stay right across what was trimmed", async () => {
  const log = new MemoryLog({ maxEntries: 3 });
  for (let i = 0; i < 10; i++) await log.append([{ draft }]);
  const { epoch } = await log.head();

  const trimmed = await log.read({ epoch, n: 2 }, 2);
  const within = await log.read({ epoch, n: 9 }, 2);

  expect(trimmed.entries.map(({ id }) => parseId(id)!.n)).toEqual([8, 9]);
  expect(within.entries.map(({ id }) => parseId(id)!.n)).toEqual([10]);
});

test("a token is forgotten after its time and not before", async () => {
  let nowMs = 1_000_000;
  const log = new MemoryLog({ now: () => nowMs });
  const request = { draft, token: { key: "k", fingerprint: "f", ttlS: 10 } };
  const outcomes = [];

  for (const atMs of [0, 9_999, 10_000]) {
    nowMs = 1_000_000 + atMs;
    outcomes.push(...(await log.append([request])));
  }

  expect(outcomes.map(({ outcome }) => outcome)).toEqual(["appended", "repeated", "appended"]);
});

test("too many tokens are refused rather than forgotten, without a hole in the numbers", async () => {
  let nowMs = 1_000_000;
  const log = new MemoryLog({ maxTokens: 3, now: () => nowMs });
  const request = (key: string) => ({ draft, token: { key, fingerprint: "f", ttlS: 10 } });
  await log.append(["a", "b"].map(request));

  await expect(log.append([{ draft }, request("c"), request("d")])).rejects.toMatchObject({ code: "BUS_UNAVAILABLE" });
  const results = await log.append([request("a"), request("c"), { draft }]);

  expect(results.map(({ outcome }) => outcome)).toEqual(["repeated", "appended", "appended"]);
  expect(await numbers(log)).toEqual([1, 2, 3, 4]);
  nowMs += 10_000;
  expect((await log.append(["d", "e", "f"].map(request))).map(({ outcome }) => outcome)).toEqual(
    Array(3).fill("appended"),
  );
});

test("what stands between two of an equal fence position parts them", async () => {
  const log = new MemoryLog();
  const fence = { source: "s", position: [1, 1] as const };

  const results = await log.append([{ draft, fence }, { draft }, { draft, fence }]);

  expect(results.map(({ outcome }) => outcome)).toEqual(["appended", "appended", "fenced"]);
});

test("a broadcast comes after append has returned, and holds what the log holds", async () => {
  const log = new MemoryLog();
  const heard: string[] = [];
  log.listen({ broadcast: ({ entries }) => heard.push(...entries.map(({ id }) => id)), head() {}, subscribed() {} });

  const answer = log.append([{ draft }, { draft }]);
  expect(heard).toEqual([]);
  const results = await answer;

  expect(heard).toEqual(results.map((result) => "id" in result && result.id));
});
