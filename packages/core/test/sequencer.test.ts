import { CarillonError, comparePositions, formatId, type LogEntry, type Position, parseId } from "@carillon/protocol";
import fc from "fast-check";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { type GapCause, noLogger, Ring, Sequencer } from "../src/index.ts";
import { countingMeter, entries, ScriptedLog } from "./support.ts";

beforeEach(() => {
  vi.useFakeTimers();
});
afterEach(() => {
  vi.useRealTimers();
});

/** Timers and promises of so long, as if it had passed. */
const pass = (ms = 0) => vi.advanceTimersByTimeAsync(ms);

function subject(log = new ScriptedLog(), preload = 0) {
  const meter = countingMeter();
  const ring = new Ring({ maxEntries: 2000, maxBytes: 10_000_000 });
  const sequencer = new Sequencer({ log, ring, meter, logger: noLogger, preload });
  const heard: string[] = [];
  sequencer.listen({
    entry: (entry) => heard.push(entry.id),
    gap: (position, cause) => heard.push(`${cause} ${formatId(position)}`),
  });
  const broadcast = (fresh: LogEntry[]) => {
    const { epoch, n: first } = parseId(fresh[0]!.id)!;
    sequencer.broadcast({ epoch, first, entries: fresh });
  };
  return { log, meter, ring, sequencer, heard, broadcast };
}

async function started(...args: Parameters<typeof subject>) {
  const all = subject(...args);
  void all.sequencer.start();
  await pass();
  return all;
}

const ids = (epoch: number, from: number, to: number) => entries(epoch, from, to).map(({ id }) => id);

describe("start", () => {
  test("it begins at the head, with what is recent in the ring and nothing told", async () => {
    const log = new ScriptedLog();
    log.append(1700);

    const { sequencer, ring, heard } = await started(log, 1200);

    expect(sequencer.position).toEqual({ epoch: 1, n: 1700 });
    expect(ring.after({ epoch: 1, n: 500 })).toHaveLength(1200);
    expect(heard).toEqual([]);
  });

  test("a log that was trimmed below what is to be preloaded gives what it has", async () => {
    const log = new ScriptedLog();
    log.append(1000);
    log.trim(100);

    const { sequencer, ring } = await started(log, 500);

    expect(sequencer.position).toEqual({ epoch: 1, n: 1000 });
    expect(ring.size).toBe(100);
    expect(ring.after({ epoch: 1, n: 900 })).toHaveLength(100);
  });

  test("a log whose entries are all gone is begun at its head", async () => {
    const log = new ScriptedLog();
    log.append(1000);
    log.trim(0);

    const { sequencer, ring, heard, broadcast } = await started(log, 500);
    broadcast(log.append());

    expect(ring.size).toBe(1);
    expect(sequencer.position).toEqual({ epoch: 1, n: 1001 });
    expect(heard).toEqual(["1-1001"]);
  });

  test("it waits for a log that is away", async () => {
    const log = new ScriptedLog();
    log.fault = () => new CarillonError("BUS_UNAVAILABLE");
    const { sequencer } = subject(log);
    let begun = false;
    void sequencer.start().then(() => {
      begun = true;
    });

    await pass(60_000);
    expect([begun, sequencer.position]).toEqual([false, undefined]);
    log.fault = () => undefined;
    await pass(1000);

    expect(begun).toBe(true);
  });

  test("it resolves with a position also when somebody asked for a place before", async () => {
    const log = new ScriptedLog();
    log.late = () => new Promise((resolve) => setTimeout(resolve, 10));
    const { sequencer } = subject(log);

    void sequencer.reach({ epoch: 1, n: 0 }, 1000);
    const start = sequencer.start();
    await pass(100);
    await start;

    expect(sequencer.position).toEqual({ epoch: 1, n: 0 });
  });

  test("stopping ends the wait", async () => {
    const log = new ScriptedLog();
    log.fault = () => new CarillonError("BUS_UNAVAILABLE");
    const { sequencer } = subject(log);
    const start = sequencer.start();
    const reach = sequencer.reach({ epoch: 1, n: 5 }, 60_000);

    sequencer.stop();

    await start;
    expect(await reach).toBe(false);
    await pass(5000);
    expect(vi.getTimerCount()).toBe(0);
  });
});

describe("broadcasts", () => {
  test("the next is delivered, and the log is not asked", async () => {
    const { log, heard, broadcast } = await started();
    const { reads } = log;

    broadcast(log.append());
    broadcast(log.append(3));

    expect(heard).toEqual(ids(1, 1, 4));
    expect(log.reads).toBe(reads);
  });

  test("what is known is dropped, within a broadcast too", async () => {
    const { log, heard, broadcast, meter } = await started();
    const all = log.append(5);

    broadcast(all.slice(0, 3));
    broadcast(all.slice(0, 2));
    broadcast(all.slice(1, 5));

    expect(heard).toEqual(ids(1, 1, 5));
    expect(meter.sum("duplicatesDropped")).toBe(2);
  });

  test("a hole is read from the log before what follows it is delivered", async () => {
    const { log, heard, broadcast, meter } = await started();
    log.append(3);

    broadcast(log.append());
    expect(heard).toEqual([]);
    await pass();

    expect(heard).toEqual(ids(1, 1, 4));
    expect(meter.sum("repairs", { cause: "hole" })).toBe(1);
  });

  test("those that come during a repair are held, ordered and delivered after it", async () => {
    const { log, heard, broadcast, sequencer } = await started();
    log.append(3);
    log.late = () => new Promise((resolve) => setTimeout(resolve, 10));
    sequencer.subscribed();
    await pass(10);
    const { reads } = log;
    const later = [log.append(), log.append(), log.append()];

    for (const fresh of later.toReversed()) broadcast(fresh);
    expect(heard).toEqual([]);
    await pass(1000);

    expect(heard).toEqual(ids(1, 1, 6));
    expect(log.reads).toBe(reads);
  });

  test("more than may be held are read from the log", async () => {
    const { log, heard, broadcast, sequencer } = await started();
    log.late = () => new Promise((resolve) => setTimeout(resolve, 10));
    sequencer.subscribed();
    await pass(10);

    for (let i = 0; i < 300; i++) broadcast(log.append(10));
    await pass(1000);

    expect(heard).toEqual(ids(1, 1, 3000));
  });

  test("a late one of an earlier epoch tells nothing", async () => {
    const { log, heard, broadcast, sequencer } = await started();
    const old = log.append();
    log.restart();
    sequencer.head(await log.head());
    await pass();
    heard.length = 0;

    broadcast(old);
    await pass();
    broadcast(log.append());

    expect(heard).toEqual(["2-1"]);
  });
});

describe("repair", () => {
  test("a head above the position is enough", async () => {
    const { log, heard, sequencer } = await started();
    log.append(1234);

    sequencer.head({ epoch: 1, n: 1234 });
    expect(sequencer.behind).toBe(1234);
    await pass();

    expect(heard).toEqual(ids(1, 1, 1234));
    expect(sequencer.behind).toBe(0);
  });

  test("a head at or below the position asks for nothing", async () => {
    const { log, sequencer, broadcast } = await started();
    broadcast(log.append(5));
    const { reads } = log;

    sequencer.head({ epoch: 1, n: 5 });
    sequencer.head({ epoch: 1, n: 3 });
    await pass();

    expect(log.reads).toBe(reads);
  });

  test("a subscription that was made again looks what was missed", async () => {
    const { log, heard, sequencer } = await started();
    log.append(2);

    sequencer.subscribed();
    await pass();

    expect(heard).toEqual(ids(1, 1, 2));
  });

  test("a trimmed log is told as a gap that leads to what is left", async () => {
    const { log, heard, sequencer, ring } = await started();
    log.append(100);
    log.trim(3);

    sequencer.subscribed();
    await pass();

    expect(heard).toEqual(["trimmed 1-97", ...ids(1, 98, 100)]);
    expect(ring.after({ epoch: 1, n: 97 })).toHaveLength(3);
    expect(ring.after({ epoch: 1, n: 96 })).toBeUndefined();
  });

  test("a log that was trimmed to nothing is told as a gap up to its head", async () => {
    const { log, heard, sequencer } = await started();
    log.append(100);
    log.trim(0);

    sequencer.subscribed();
    await pass();

    expect(heard).toEqual(["trimmed 1-100"]);
  });

  test.each([2, 0])("another epoch (%i after 1) is told as a gap, and then goes on", async (epoch) => {
    const { log, heard, sequencer, broadcast } = await started();
    broadcast(log.append(5));
    log.restart(epoch);
    log.append(2);

    broadcast(log.append());
    await pass();
    broadcast(log.append());

    expect(heard).toEqual([...ids(1, 1, 5), `epoch ${epoch}-0`, ...ids(epoch, 1, 4)]);
    expect(sequencer.behind).toBe(0);
  });

  test("an epoch in which nothing happened yet is told too", async () => {
    const { log, heard, sequencer } = await started();
    log.append(5);
    sequencer.subscribed();
    await pass();
    heard.length = 0;
    log.restart();

    sequencer.head({ epoch: 2, n: 0 });
    await pass();

    expect(heard).toEqual(["epoch 2-0"]);
  });

  test("a log that answers with short pages is read to its end", async () => {
    const { log, heard, sequencer } = await started();
    log.maxPage = 7;
    log.append(100);

    sequencer.subscribed();
    await pass();

    expect(heard).toEqual(ids(1, 1, 100));
  });

  test("it tries again for as long as the log is away, and not too often", async () => {
    const { log, heard, sequencer } = await started();
    log.append(3);
    log.fault = () => new CarillonError("BUS_UNAVAILABLE");
    const { reads } = log;

    sequencer.subscribed();
    await pass(60_000);
    expect(heard).toEqual([]);
    expect(log.reads - reads).toBeLessThan(150);
    log.fault = () => undefined;
    await pass(1000);

    expect(heard).toEqual(ids(1, 1, 3));
  });
});

describe("reach", () => {
  test("a place that was passed is reached without asking the log", async () => {
    const { log, sequencer, broadcast } = await started();
    broadcast(log.append(5));
    const { reads } = log;

    expect(await sequencer.reach({ epoch: 1, n: 5 }, 1000)).toBe(true);

    expect(log.reads).toBe(reads);
    expect(vi.getTimerCount()).toBe(0);
  });

  test("a client that is ahead is waited for, and the log is asked at once", async () => {
    const { log, sequencer, heard } = await started();
    log.append(5);

    const reached = sequencer.reach({ epoch: 1, n: 5 }, 1000);
    await pass();

    expect(await reached).toBe(true);
    expect(heard).toEqual(ids(1, 1, 5));
    expect(vi.getTimerCount()).toBe(0);
  });

  test("a place that nobody has is not reached, after the time given", async () => {
    const { sequencer } = await started();
    let verdict: boolean | undefined;

    void sequencer.reach({ epoch: 1, n: 5 }, 1000).then((reached) => {
      verdict = reached;
    });
    await pass(999);
    expect(verdict).toBeUndefined();
    await pass(1);

    expect(verdict).toBe(false);
  });

  test("a place of an earlier epoch is not reached, at once", async () => {
    const log = new ScriptedLog();
    log.epoch = 7;
    const { sequencer } = await started(log);

    expect(await sequencer.reach({ epoch: 6, n: 1 }, 60_000)).toBe(false);
  });

  test("an epoch that begins during the wait ends it", async () => {
    const { log, sequencer, broadcast } = await started();
    const reached = sequencer.reach({ epoch: 1, n: 5 }, 60_000);
    const later = sequencer.reach({ epoch: 2, n: 1 }, 60_000);
    await pass();
    log.restart();

    broadcast(log.append());
    await pass();

    expect([await reached, await later]).toEqual([false, true]);
    expect(vi.getTimerCount()).toBe(0);
  });

  test("thousands who wait cost the log a read or two", async () => {
    const { log, sequencer } = await started();
    log.late = () => new Promise((resolve) => setTimeout(resolve, 1));
    log.append(5);
    const { reads } = log;

    const waiting = Array.from({ length: 5000 }, (_, i) => sequencer.reach({ epoch: 1, n: 1 + (i % 5) }, 1000));
    await pass(100);

    expect((await Promise.all(waiting)).every(Boolean)).toBe(true);
    expect(log.reads - reads).toBeLessThanOrEqual(2);
  });
});

/** What a lossy bus and a moody log do between two looks. */
type Step =
  | { kind: "append"; count: number; fate: "delivered" | "lost" | "late" | "doubled" }
  | { kind: "releaseLate"; seed: number }
  | { kind: "fail"; times: number }
  | { kind: "trim"; keep: number }
  | { kind: "restart"; down: boolean }
  | { kind: "beat"; stale: boolean }
  | { kind: "subscribed" }
  | { kind: "pass"; ms: number };

const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 10,
    arbitrary: fc.record({
      kind: fc.constant("append" as const),
      count: fc.oneof(
        { weight: 9, arbitrary: fc.integer({ min: 1, max: 5 }) },
        { weight: 1, arbitrary: fc.constant(1200) },
      ),
      fate: fc.constantFrom("delivered", "lost", "late", "doubled"),
    }),
  },
  { weight: 4, arbitrary: fc.record({ kind: fc.constant("releaseLate" as const), seed: fc.nat() }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant("fail" as const), times: fc.integer({ min: 1, max: 4 }) }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant("trim" as const), keep: fc.integer({ min: 0, max: 20 }) }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant("restart" as const), down: fc.boolean() }) },
  { weight: 3, arbitrary: fc.record({ kind: fc.constant("beat" as const), stale: fc.boolean() }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant("subscribed" as const) }) },
  { weight: 5, arbitrary: fc.record({ kind: fc.constant("pass" as const), ms: fc.integer({ min: 0, max: 40 }) }) },
);

test("whatever the bus and the log do, each hears every entry once and in order, or a gap over exactly what is out of reach", async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(step, { minLength: 5, maxLength: 60 }), async (steps) => {
      const log = new ScriptedLog();
      log.epoch = 100;
      log.append(10);
      const { sequencer } = subject(log, 5);
      const trimmed = new Map<number, number>();
      const stories = [0, 1].map(() => ({ at: undefined as Position | undefined, told: [] as string[] }));
      for (const story of stories) {
        sequencer.listen({
          entry: (entry) => {
            expect(parseId(entry.id)).toEqual({ epoch: story.at!.epoch, n: story.at!.n + 1 });
            story.at = parseId(entry.id);
            story.told.push(entry.id);
          },
          gap: (to: Position, cause: GapCause) => {
            const from = story.at!;
            if (cause === "epoch") expect(to.epoch).not.toBe(from.epoch);
            else expect([to.epoch, to.n > from.n]).toEqual([from.epoch, true]);
            // Nothing that the log still has is given up.
            expect(to.n).toBeLessThanOrEqual(trimmed.get(to.epoch) ?? 0);
            story.at = to;
            story.told.push(cause);
          },
        });
      }
      let failures = 0;
      let answers = 0;
      log.late = () => new Promise((resolve) => setTimeout(resolve, (++answers * 7) % 11));
      log.fault = () => (failures-- > 0 ? new CarillonError("BUS_UNAVAILABLE") : undefined);
      void sequencer.start();
      await pass(100);
      for (const story of stories) story.at = sequencer.position;

      const late: LogEntry[][] = [];
      const send = (fresh: LogEntry[]) => {
        const { epoch, n: first } = parseId(fresh[0]!.id)!;
        sequencer.broadcast({ epoch, first, entries: fresh });
      };
      const heads: Position[] = [{ epoch: log.epoch, n: log.n }];
      const note = () => trimmed.set(log.epoch, log.n - log.entries.length);
      note(); // or the first epoch could begin again, which none does
      for (const now of steps) {
        if (now.kind === "append") {
          const fresh = log.append(now.count);
          if (now.fate === "late") late.push(fresh);
          else if (now.fate !== "lost") send(fresh);
          if (now.fate === "doubled") send(fresh);
        } else if (now.kind === "releaseLate") {
          const order = late
            .splice(0)
            .sort(
              (a, b) => ((parseId(a[0]!.id)!.n * 31 + now.seed) % 17) - ((parseId(b[0]!.id)!.n * 31 + now.seed) % 17),
            );
          for (const fresh of order) send(fresh);
        } else if (now.kind === "fail") failures = now.times;
        else if (now.kind === "trim") log.trim(now.keep);
        else if (now.kind === "restart")
          log.restart(
            now.down ? Math.min(...trimmed.keys(), log.epoch) - 1 : Math.max(...trimmed.keys(), log.epoch) + 1,
          );
        else if (now.kind === "beat")
          sequencer.head(now.stale ? heads[now.kind.length % heads.length]! : { epoch: log.epoch, n: log.n });
        else if (now.kind === "subscribed") sequencer.subscribed();
        else await pass(now.ms);
        note();
        heads.push({ epoch: log.epoch, n: log.n });
      }
      failures = 0;
      const { reads } = log;
      await pass(3000);
      sequencer.head({ epoch: log.epoch, n: log.n });
      await pass(3000);

      expect(sequencer.position).toEqual({ epoch: log.epoch, n: log.n });
      expect(sequencer.repairing).toBe(false);
      expect(sequencer.behind).toBe(0);
      expect(log.reads - reads).toBeLessThan(30);
      expect(vi.getTimerCount()).toBe(0);
      for (const story of stories) expect(comparePositions(story.at!, sequencer.position!)).toBe(0);
      expect(stories[0]!.told).toEqual(stories[1]!.told);
    }),
    { numRuns: 150 },
  );
}, 60_000);
