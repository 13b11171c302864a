import {
  CarillonError,
  formatId,
  isGap,
  type LogEntry,
  type Position,
  type Publication,
  parseId,
  stringifyJson,
} from "@carillon/protocol";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { History, Ring } from "../src/index.ts";
import { countingMeter, entries, entry, gapEntry, ScriptedLog } from "./support.ts";

/** A node whose ring holds the newest `ringSize` of the log's entries, and whose position is the log's head. */
function subject(count: number, ringSize: number) {
  const log = new ScriptedLog();
  const ring = new Ring({ maxEntries: ringSize, maxBytes: 100_000_000 });
  const node = { position: { epoch: 1, n: 0 } as Position | undefined };
  const meter = countingMeter();
  const history = new History({ log, ring, meter, position: () => node.position });
  ring.reset({ epoch: 1, n: 0 });
  /** The node hears what the log has, as the sequencer would. */
  const hear = (fresh: readonly LogEntry[]) => {
    for (const item of fresh) {
      ring.push(item);
      node.position = parseId(item.id);
    }
  };
  hear(log.append(count));
  /** Puts one entry of one's own at the end. */
  const put = (make: (epoch: number, n: number) => LogEntry) => {
    const item = make(log.epoch, ++log.n);
    log.entries.push(item);
    hear([item]);
  };
  const restart = () => {
    log.restart();
    ring.reset({ epoch: log.epoch, n: 0 });
    node.position = { epoch: log.epoch, n: 0 };
  };
  const scan = async (since: Position) => {
    const visited: LogEntry[] = [];
    const result = await history.scan(since, (items) => visited.push(...items));
    return { ...result, numbers: visited.map(({ id }) => parseId(id)!.n) };
  };
  return { log, ring, node, meter, history, hear, put, restart, scan };
}

const range = (from: number, to: number) => Array.from({ length: Math.max(to - from + 1, 0) }, (_, i) => from + i);
const at = (n: number, epoch = 1): Position => ({ epoch, n });

describe("scan", () => {
  test("what the ring reaches is visited at once, without the log", async () => {
    const { history, log } = subject(100, 20);
    const visited: LogEntry[] = [];

    const scan = history.scan(at(80), (items) => visited.push(...items));
    expect(visited).toEqual(entries(1, 81, 100));

    expect(await scan).toEqual({ whole: true, reached: at(100) });
    expect(log.reads).toBe(0);
  });

  test("one entry further back costs the log a read", async () => {
    const { scan, log } = subject(100, 20);

    expect(await scan(at(79))).toEqual({ whole: true, reached: at(100), numbers: range(80, 100) });

    expect(log.reads).toBe(1);
  });

  test("who is at the head has missed nothing", async () => {
    const { scan, log } = subject(100, 20);

    expect(await scan(at(100))).toEqual({ whole: true, reached: at(100), numbers: [] });
    expect(log.reads).toBe(0);
  });

  test.each([
    ["ahead of this node", at(101)],
    ["of another epoch", at(50, 2)],
  ])("who is %s is not whole, and is shown nothing", async (_what, since) => {
    const { scan, log } = subject(100, 20);

    expect(await scan(since)).toEqual({ whole: false, reached: at(100), numbers: [] });
    expect(log.reads).toBe(0);
  });

  test("before the node has a position it is not ready", async () => {
    const { history, node } = subject(0, 10);
    node.position = undefined;

    await expect(history.scan(at(0), () => {})).rejects.toMatchObject({ code: "NOT_READY" });
  });

  test("the edge of a trimmed log parts the whole from the cut", async () => {
    const { scan, log } = subject(1000, 10);
    log.trim(600);

    const [whole, cut] = await Promise.all([scan(at(400)), scan(at(399))]);

    expect(whole).toEqual({ whole: true, reached: at(1000), numbers: range(401, 1000) });
    expect(cut).toEqual({ whole: false, reached: at(1000), numbers: range(401, 1000) });
  });

  test("a log without entries leaves nobody whole but those at the head", async () => {
    const { scan, log, ring } = subject(100, 10);
    log.trim(0);
    ring.reset(at(100));

    const [cut, whole] = await Promise.all([scan(at(50)), scan(at(100))]);

    expect(cut).toEqual({ whole: false, reached: at(100), numbers: [] });
    expect(whole).toEqual({ whole: true, reached: at(100), numbers: [] });
  });

  test("a log that answers with short pages is read without skipping", async () => {
    const { scan, log } = subject(100, 10);
    log.maxPage = 7;

    expect((await scan(at(20))).numbers).toEqual(range(21, 100));
  });

  test("thousands of readers with different offsets share a few reads", async () => {
    const { history, log, meter } = subject(5000, 1000);
    const seen = range(0, 4999).map(() => ({ first: 0, count: 0 }));

    const scans = await Promise.all(
      seen.map((own, n) =>
        history.scan(at(n % 4000), (items) => {
          own.first ||= parseId(items[0]!.id)!.n;
          own.count += items.length;
        }),
      ),
    );

    expect(log.reads).toBeLessThanOrEqual(9);
    expect(meter.sum("logReads")).toBe(log.reads);
    expect(scans.every(({ whole, reached }) => whole && reached.n === 5000)).toBe(true);
    expect(seen).toEqual(seen.map((_, n) => ({ first: (n % 4000) + 1, count: 5000 - (n % 4000) })));
  }, 30_000);

  test("thousands of readers do not stop everything else", async () => {
    const { history } = subject(5000, 1000);
    let turns = 0;
    let serving = true;
    const count = () => {
      turns++;
      if (serving) setImmediate(count);
    };
    setImmediate(count);

    await Promise.all(range(0, 2999).map((n) => history.scan(at(n), () => {})));
    serving = false;

    expect(turns).toBeGreaterThan(30);
  });

  test("what is published during the pass is seen once: in the visit or after what it reached", async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.integer({ min: 80, max: 140 }),
        fc.integer({ min: 0, max: 40 }),
        fc.integer({ min: 0, max: 1200 }),
        async (ringSize, burst, since) => {
          const { scan, log, hear, ring, node } = subject(1200, ringSize);
          log.late = async () => hear(log.append(burst));

          const { whole, reached, numbers } = await scan(at(since));
          log.late = () => Promise.resolve();
          const rest = ring.after(reached)!;

          expect(whole).toBe(true);
          expect([...numbers, ...rest.map(({ id }) => parseId(id)!.n)]).toEqual(range(since + 1, node.position!.n));
        },
      ),
      { numRuns: 60 },
    );
  });

  test("an epoch that begins during the pass cuts off those before it, and only those", async () => {
    const { scan, log, restart, hear } = subject(1000, 10);
    const before = scan(at(0));
    const after: ReturnType<typeof scan>[] = [];
    let once = true;
    log.late = async () => {
      if (!once) return;
      once = false;
      restart();
      hear(log.append(1000));
      after.push(scan(at(5, 2)));
    };

    const cut = await before;
    log.late = () => Promise.resolve();

    expect(cut).toMatchObject({ whole: false, reached: { epoch: 2 } });
    expect(await after[0]).toEqual({ whole: true, reached: at(1000, 2), numbers: range(6, 1000) });
  });

  test("readers of two epochs who wait for one pass are judged each by their own", async () => {
    const { scan, log, restart, hear } = subject(1000, 10);

    const old = scan(at(3));
    restart();
    hear(log.append(1000));
    const fresh = scan(at(3, 2));

    expect(await old).toMatchObject({ whole: false, numbers: [] });
    expect(await fresh).toMatchObject({ whole: true, numbers: range(4, 1000) });
  });

  test("a log that is away fails those who need it, and the next try succeeds", async () => {
    const { scan, log } = subject(100, 10);
    log.fault = () => new CarillonError("BUS_UNAVAILABLE");

    await expect(scan(at(0))).rejects.toMatchObject({ code: "BUS_UNAVAILABLE" });
    expect((await scan(at(95))).whole).toBe(true);
    log.fault = () => undefined;

    expect((await scan(at(0))).whole).toBe(true);
  });

  test("a gap that the node told while the pass ran leaves nobody whole", async () => {
    const { scan, log, ring, node } = subject(1000, 10);
    let once = true;
    log.late = async () => {
      if (!once) return;
      once = false;
      log.append(500);
      log.trim(100);
      ring.reset(at(1400));
      node.position = at(1400);
    };

    expect(await scan(at(0))).toMatchObject({ whole: false, reached: { epoch: 1 } });
  });
});

test("a node that hears more during each read than its ring holds gives up some day", async () => {
  const { scan, log, hear } = subject(20, 3);
  log.late = async () => {
    hear(log.append(5));
    log.trim(100);
  };

  expect(await scan(at(0))).toMatchObject({ whole: false });
});

test("what followed is there until another epoch begins", () => {
  const { history, restart } = subject(100, 20);

  expect(history.rest(at(98))).toHaveLength(2);
  restart();

  expect(history.rest(at(98))).toBeUndefined();
});

describe("read", () => {
  const idsOf = (publications: readonly Publication[]) => publications.map(({ id }) => id);

  test("pages follow one another without a hole or a repeat", async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.integer({ min: 1, max: 30 }),
        fc.integer({ min: 1, max: 100 }),
        fc.array(fc.boolean(), { maxLength: 80 }),
        async (limit, ringSize, kinds) => {
          const { history, put, node } = subject(0, ringSize);
          for (const own of kinds) put((epoch, n) => entry(epoch, n, own ? "chat" : "other"));
          const seen: string[] = [];
          let since = formatId(at(0));

          for (let pages = 0; pages < 100; pages++) {
            const page = await history.read("chat", since, limit);
            expect(page.gap).toBe(false);
            expect(page.publications.length).toBeLessThanOrEqual(limit);
            seen.push(...idsOf(page.publications));
            if (since === page.id) break;
            since = page.id;
          }

          expect(seen).toEqual(kinds.flatMap((own, i) => (own ? [formatId(at(i + 1))] : [])));
          expect(since).toBe(formatId(node.position!));
        },
      ),
      { numRuns: 60 },
    );
  });

  test("without `since` the newest in memory come, oldest first", async () => {
    const { history } = subject(100, 20);

    const page = await history.read("chat", undefined, 3);

    expect(page).toMatchObject({ id: "1-100", gap: false });
    expect(idsOf(page.publications)).toEqual(["1-98", "1-99", "1-100"]);
  });

  test("a page of large publications is shorter, and the next goes on from it", async () => {
    const { history, put } = subject(0, 100);
    for (let i = 0; i < 50; i++)
      put((epoch, n) => ({ ...entry(epoch, n), payload: stringifyJson("x".repeat(200_000)) }));
    put((epoch, n) => ({ ...entry(epoch, n), payload: stringifyJson("x".repeat(2_000_000)) }));

    const first = await history.read("chat", "1-0", 1000);
    const second = await history.read("chat", first.id, 1000);
    const last = await history.read("chat", "1-50", 1000);
    const newest = await history.read("chat", undefined, 1000);

    expect(idsOf(first.publications)).toEqual(["1-1", "1-2", "1-3", "1-4", "1-5"]);
    expect(first).toMatchObject({ id: "1-5", gap: false });
    expect(idsOf(second.publications)[0]).toBe("1-6");
    expect(idsOf(last.publications)).toEqual(["1-51"]);
    expect(idsOf(newest.publications)).toEqual(["1-51"]);
  });

  test("only what the caller may hear is shown and counted", async () => {
    const { history } = subject(100, 20);
    const even = ({ id }: Publication) => parseId(id)!.n % 2 === 0;

    const page = await history.read("chat", "1-0", 3, even);
    const newest = await history.read("chat", undefined, 2, even);

    expect(idsOf(page.publications)).toEqual(["1-2", "1-4", "1-6"]);
    expect(page.id).toBe("1-6");
    expect(idsOf(newest.publications)).toEqual(["1-98", "1-100"]);
  });

  test.each(["nonsense", "7-5", "0-0"])("`since=%s` gives what there is, as a gap", async (since) => {
    const { history } = subject(10, 5);

    const page = await history.read("chat", since, 100);

    expect(page).toMatchObject({ id: "1-10", gap: true });
    expect(page.publications).toHaveLength(10);
  });

  test("a trimmed log is a gap on the first page only", async () => {
    const { history, log } = subject(100, 5);
    log.trim(50);

    const first = await history.read("chat", "1-10", 30);
    const second = await history.read("chat", first.id, 30);

    expect(first).toMatchObject({ gap: true, id: "1-80" });
    expect(idsOf(first.publications)[0]).toBe("1-51");
    expect(second).toMatchObject({ gap: false, id: "1-100" });
  });

  test("a gap in the log is told on the page that it lies in, and for its channels", async () => {
    const { history, put } = subject(4, 100);
    put((epoch, n) => gapEntry(epoch, n, ["orders"]));
    put((epoch, n) => entry(epoch, n));
    put((epoch, n) => gapEntry(epoch, n, ["chat"]));
    put((epoch, n) => entry(epoch, n));
    put((epoch, n) => entry(epoch, n));
    put((epoch, n) => gapEntry(epoch, n));

    const pages = [];
    for (let since = "1-0"; since !== "1-10"; since = pages.at(-1)!.id)
      pages.push(await history.read("chat", since, 2));

    expect(pages.map(({ id, gap }) => [id, gap])).toEqual([
      ["1-2", false],
      ["1-4", false],
      ["1-8", true],
      ["1-10", true],
    ]);
    expect((await history.read("chat", "1-8", 1)).gap).toBe(true);
    expect((await history.read("chat", "1-6", 1)).gap).toBe(true);
    expect((await history.read("chat", "1-4", 1)).gap).toBe(false);
  });

  test("nothing of it is a gap entry itself", async () => {
    const { history, put } = subject(1, 10);
    put((epoch, n) => gapEntry(epoch, n));

    const { publications } = await history.read("chat", "1-0", 10);

    expect(publications.some((item) => isGap(item))).toBe(false);
  });
});
