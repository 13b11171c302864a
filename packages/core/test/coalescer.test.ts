import type { Draft, JsonText } from "@carillon/protocol";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { Coalescer } from "../src/index.ts";
import { countingMeter, message } from "./support.ts";

const refresh: Draft = { channel: "trips", scope: "TRIP_APPROVED" };

beforeEach(() => {
  vi.useFakeTimers();
});
afterEach(() => {
  vi.useRealTimers();
});

function subject(windowMs = 100) {
  const meter = countingMeter();
  const coalescer = new Coalescer(windowMs, meter);
  const appendedAtMs: number[] = [];
  const startMs = Date.now();
  const append = async () => {
    appendedAtMs.push(Date.now() - startMs);
    return `1-${appendedAtMs.length}`;
  };
  return { coalescer, meter, appendedAtMs, append, run: (draft: Draft = refresh) => coalescer.run(draft, append) };
}

describe("equal refreshes", () => {
  test("the first goes out at once", async () => {
    const { run, appendedAtMs } = subject();

    expect(await run()).toBe("1-1");

    expect(appendedAtMs).toEqual([0]);
  });

  test("those that come within the window share one at its end, and are answered then", async () => {
    const { run, appendedAtMs, meter } = subject();
    await run();
    await vi.advanceTimersByTimeAsync(60);
    const answers: string[] = [];
    for (let i = 0; i < 5; i++) void run().then((id) => answers.push(id));

    await vi.advanceTimersByTimeAsync(39);
    expect(answers).toEqual([]);
    await vi.advanceTimersByTimeAsync(1);

    expect(answers).toEqual(["1-2", "1-2", "1-2", "1-2", "1-2"]);
    expect(appendedAtMs).toEqual([0, 100]);
    expect(meter.sum("publicationsCoalesced")).toBe(4);
  });

  test("under a constant stream one goes out each window and nobody waits longer than one", async () => {
    const { run, appendedAtMs } = subject();
    const waitedMs: number[] = [];

    for (let ms = 0; ms < 1000; ms += 10) {
      const askedMs = Date.now();
      void run().then(() => waitedMs.push(Date.now() - askedMs));
      await vi.advanceTimersByTimeAsync(10);
    }
    await vi.runAllTimersAsync();

    expect(appendedAtMs).toEqual([0, 100, 200, 300, 400, 500, 600, 700, 800, 900, 1000]);
    expect(waitedMs).toHaveLength(100);
    expect(Math.max(...waitedMs)).toBeLessThanOrEqual(100);
  });

  test("after a quiet window the next goes out at once again", async () => {
    const { run, appendedAtMs } = subject();
    await run();

    await vi.advanceTimersByTimeAsync(100);
    await run();

    expect(appendedAtMs).toEqual([0, 100]);
  });

  test("a failure reaches all who shared it, and the next try is a new one", async () => {
    const { coalescer, append, run } = subject();
    await run();
    const shared = [coalescer.run(refresh, () => Promise.reject(new Error("away"))), coalescer.run(refresh, append)];
    const settled = Promise.allSettled(shared);

    await vi.advanceTimersByTimeAsync(100);

    expect((await settled).map(({ status }) => status)).toEqual(["rejected", "rejected"]);
    const next = run();
    await vi.advanceTimersByTimeAsync(100);
    expect(await next).toBe("1-2");
  });
});

describe("what is not equal is never held", () => {
  test.each<[string, Draft]>([
    ["a message", message("trips", 1)],
    ["a refresh with a payload", { ...refresh, payload: "1" as JsonText }],
    ["a refresh whose payload was too large", { ...refresh, truncated: "{}" as JsonText }],
    ["what a client published", { ...refresh, from: "42" }],
    ["a refresh for very many", { ...refresh, to: { users: Array.from({ length: 1000 }, (_, i) => `${i}`) } }],
  ])("%s", async (_what, draft) => {
    const { run, appendedAtMs } = subject();

    await run(draft);
    await run(draft);

    expect(appendedAtMs).toEqual([0, 0]);
  });

  test("another channel, scope or audience", async () => {
    const { run, appendedAtMs } = subject();

    await run();
    await run({ ...refresh, channel: "users" });
    await run({ ...refresh, scope: "ALL" });
    await run({ ...refresh, to: { users: ["1"] } });
    await run({ ...refresh, to: { users: ["2"] } });

    expect(appendedAtMs).toEqual([0, 0, 0, 0, 0]);
  });

  test("anything when the window is 0", async () => {
    const { run, appendedAtMs } = subject(0);

    await run();
    await run();

    expect(appendedAtMs).toHaveLength(2);
  });
});

test("no more windows are open than there may be; what is beyond goes out at once", async () => {
  const { run } = subject();
  for (let i = 0; i < 10_000; i++) await run({ ...refresh, scope: `S${i}` });

  const beyond = await Promise.all([run({ ...refresh, scope: "X" }), run({ ...refresh, scope: "X" })]);

  expect(beyond).toEqual(["1-10001", "1-10002"]);
  expect(vi.getTimerCount()).toBe(10_000);
  await vi.advanceTimersByTimeAsync(100);
  expect(vi.getTimerCount()).toBe(0);
});
