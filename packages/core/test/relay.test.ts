import { isGap } from "@carillon/protocol";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { type FeedListener, type Mark, MemoryLease, MemoryLog, noLogger, noMeter, Relay } from "../src/index.ts";
import { chaos, pass, World } from "./relay-world.ts";
import { message, SwitchableLease } from "./support.ts";

beforeEach(() => {
  vi.useFakeTimers();
});
afterEach(() => {
  vi.useRealTimers();
});

/** With something in the log, so that there are positions that a gap could be told to. */
async function world(nodes: number, seed = 1): Promise<World> {
  const made = new World(seed);
  await made.log.append([{ draft: message("z", 0) }]);
  for (let i = 0; i < nodes; i++) made.addNode();
  return made;
}

async function settled(nodes: number, seed = 1): Promise<World> {
  const made = await world(nodes, seed);
  await made.run(5000);
  return made;
}

/** One node that holds the lease for ever, and a feed that echoes marks at once. */
async function alone() {
  const log = new MemoryLog();
  await log.append([{ draft: message("z") }]);
  const carried: string[] = [];
  const feed = {
    name: "feed",
    marks: 0,
    listener: undefined as FeedListener | undefined,
    listen(listener: FeedListener) {
      this.listener = listener;
    },
    async sendMark(mark: Mark) {
      this.marks++;
      this.listener?.mark(mark);
    },
  };
  const relay = new Relay({
    feed,
    lease: new MemoryLease(),
    publisher: log,
    log,
    ingress: "redis",
    interpret: (channel, text) => [message(channel, text)],
    affected: (channels) => channels ?? ["a"],
    onCarried: (channels) => carried.push(...channels),
    meter: noMeter,
    logger: noLogger,
  });
  return { relay, log, feed, carried };
}

/** Each message once and in order, or a gap on its channel after it was sent and before all that follow it. */
async function verify(made: World, hint: string): Promise<void> {
  const entries = await made.entries();
  const places = new Map<string, number>();
  entries.forEach((entry, place) => {
    if (isGap(entry)) return;
    const key = `${entry.channel} ${entry.payload}`;
    expect(places.has(key), `${hint}: ${key} is there twice`).toBe(false);
    places.set(key, place);
  });
  for (const channel of [...made.channels, "p"]) {
    const sent = made.sent.filter((one) => one.channel === channel);
    const published = sent.map(({ n }) => places.get(`${channel} ${n}`)).filter((place) => place !== undefined);
    expect(published, `${hint}: ${channel} is in order`).toEqual(published.toSorted((x, y) => x - y));
    for (const { n, atMs } of sent) {
      if (places.has(`${channel} ${n}`)) continue;
      const next = sent
        .slice(n)
        .map((later) => places.get(`${channel} ${later.n}`))
        .find((place) => place !== undefined);
      const told = entries.some(
        (entry, place) =>
          isGap(entry) &&
          entry.gap.channels?.includes(channel) &&
          entry.timestampMs >= atMs &&
          place < (next ?? entries.length),
      );
      expect(told, `${hint}: ${channel} ${n} is missing in silence`).toBe(true);
    }
  }
}

describe("one holder", () => {
  test("each message is published once, in order, however many listen", async () => {
    const made = await settled(3);

    for (let i = 0; i < 100; i++) {
      made.send(["a", "b", "p"][i % 3]!);
      await pass(i % 20);
    }
    await made.run(3000);

    await verify(made, "three nodes");
    expect((await made.entries()).filter((entry) => !isGap(entry))).toHaveLength(101);
  });

  test("what the others keep goes when the holder reports it done", async () => {
    const made = await settled(3);
    made.latencyMs = 0;

    made.send("a", 100);
    await made.run(150);
    const kept = made.alive.map(({ relay }) => relay.kept);
    await made.run(3000);

    expect(Math.max(...kept)).toBe(100);
    expect(made.alive.map(({ relay }) => relay.kept)).toEqual([0, 0, 0]);
  });

  test("the first of all tells a gap, since nobody heard what was before", async () => {
    const made = await world(1);
    made.send("a", 3);

    await made.run(5000);

    expect(await made.story()).toBe("z0 gap(a,b,p)");
  });

  test("with an empty log there is nobody to tell", async () => {
    const made = new World();
    const node = made.addNode();

    await made.run(5000);
    made.send("a");
    await made.run(1000);

    expect(await made.story()).toBe("a1");
    expect(node.carried.toSorted()).toEqual(["a", "b"]);
  });

  test("a lost answer publishes nothing twice", async () => {
    const made = await settled(2);
    made.appends = "unanswered";
    made.send("a", 300);
    await made.run(3000);

    made.appends = "well";
    await made.run(5000);

    expect((await made.story()).match(/a\d+/g)).toEqual(Array.from({ length: 300 }, (_, i) => `a${i + 1}`));
    await verify(made, "lost answers");
  });

  test("a log that is away is waited for", async () => {
    const made = await settled(2);
    made.appends = "refused";
    made.send("a", 5);
    await made.run(30_000);
    made.send("b", 5);

    made.appends = "well";
    await made.run(5000);

    expect((await made.story()).replace("z0 gap(a,b,p) ", "")).toBe("a1 a2 a3 a4 a5 b1 b2 b3 b4 b5");
  });

  test("a lease that tells its state twice changes nothing", async () => {
    const { relay, log } = await alone();

    relay.start();
    await pass(5000);
    await relay.stop();

    expect((await log.head()).n).toBe(2);
    expect(vi.getTimerCount()).toBe(0);
  });

  test("what is heard after it was stopped is left to the others", async () => {
    const { relay, log, feed } = await alone();
    relay.start();
    await pass(1000);

    await relay.stop();
    feed.listener!.message("a", "late");
    await pass(5000);

    expect((await log.head()).n).toBe(2);
  });
});

describe("takeover", () => {
  test("whoever went on hearing carries on without a gap, and publishes what the dead one had not", async () => {
    for (let seed = 1; seed <= 30; seed++) {
      const made = await settled(3, seed);
      const before = await made.story();
      made.send("a", 20);
      made.send("p", 20);
      await pass(made.random() * 12);

      made.holder!.kill();
      made.send("b", 5);
      await made.run(6000);

      await verify(made, `seed ${seed}`);
      const after = (await made.story()).slice(before.length);
      expect(after).not.toContain("gap");
      expect(after.match(/[abp]\d+/g)).toHaveLength(45);
    }
  });

  test("who has only just started lets one that heard everything go first", async () => {
    const made = await settled(2);
    const before = await made.story();
    made.holder!.kill();
    const [survivor] = made.alive;
    survivor!.abstainsUntilMs = Date.now() + 700; // asks a moment later than the new one
    made.send("a", 3);
    await made.run(300);
    const late = made.addNode();
    await made.run(500);
    const gaveWay = made.holder !== late;

    await made.run(3000);

    expect([gaveWay, made.holder]).toEqual([true, survivor]);
    expect((await made.story()).slice(before.length)).toBe(" a1 a2 a3");
  });

  test("who came too late tells a gap before anything that it heard", async () => {
    const made = await settled(1);
    made.holder!.kill();
    made.send("a", 3);
    await made.run(600);
    made.addNode();

    await made.run(3000);
    made.send("a");
    await made.run(1000);

    expect(await made.story()).toBe("z0 gap(a,b,p) gap(a,b,p) a4");
  });

  test("one that heard only the end of a dead holder tells the gap ahead of what it kept", async () => {
    const made = await settled(1);
    const old = made.holder!;
    made.appends = "refused";
    made.send("a", 2);
    made.addNode();
    await made.run(3000);
    made.send("a", 2);
    await made.run(100);
    old.kill();

    made.appends = "well";
    await made.run(5000);

    expect(await made.story()).toBe("z0 gap(a,b,p) gap(a,b,p) a3 a4");
  });

  test("what was heard before the log began anew is told as a gap, since it may have been published", async () => {
    const made = await settled(2);
    const { epoch } = await made.log.head();
    made.epoch = epoch - 1;
    made.appends = "refused";
    made.send("a", 3);
    await made.run(200);
    made.holder!.kill();

    made.epoch = epoch;
    made.appends = "well";
    await made.run(5000);
    made.send("a");
    await made.run(1000);

    expect(await made.story()).toBe("z0 gap(a,b,p) gap(a,b,p) a4");
  });

  test("a holder that leaves reports what it has done, so that one which came just before carries on without a gap", async () => {
    const made = await settled(1);
    const old = made.holder!;
    const young = made.addNode();
    // One mark and no more: it reports nothing that was heard here.
    while (!young.relay.synced) await made.run(50);
    made.send("a", 2);
    await made.run(50);

    await Promise.all([old.relay.stop(), made.run(100)]);
    old.kill();
    made.send("a", 2);
    await made.run(5000);

    expect(await made.story()).toBe("z0 gap(a,b,p) a1 a2 a3 a4");
  });

  test("a gap that its holder could not tell is told by the next one", async () => {
    const made = await settled(1);
    made.holder!.kill();
    made.send("a", 3);
    made.appends = "refused";
    const [first, second] = [made.addNode(), made.addNode()];
    await made.run(8000);

    made.holder!.kill();
    made.appends = "well";
    await made.run(8000);

    expect([first.dead, second.dead].filter(Boolean)).toHaveLength(1);
    expect(await made.story()).toBe("z0 gap(a,b,p) gap(a,b,p)");
  });

  test("a holder that stood still and wakes up publishes nothing twice", async () => {
    for (let seed = 1; seed <= 30; seed++) {
      const made = await settled(2, seed);
      const stale = made.holder!;
      made.send("a", 300);
      await pass(made.random() * 12);
      stale.pause();
      made.send("a", 10);
      await made.run(5000);
      made.send("a", 10);
      await made.run(1000);

      stale.wake();
      made.send("a", 10);
      await made.run(5000);

      await verify(made, `seed ${seed}`);
      expect((await made.story()).match(/a\d+/g)).toHaveLength(330);
      expect((await made.story()).match(/gap/g)).toHaveLength(1);
    }
  });

  test("a holder that no longer hears steps down for one that does, without a gap", async () => {
    const made = await settled(2);
    const deaf = made.holder!;

    deaf.disconnect();
    made.send("a", 5);
    await made.run(3000);
    deaf.connect();
    await made.run(3000);

    expect(await made.story()).toBe("z0 gap(a,b,p) a1 a2 a3 a4 a5");
    expect(made.holder).not.toBe(deaf);
  });

  test("nobody hearing for a while is told", async () => {
    const made = await settled(2);
    for (const node of made.alive) node.disconnect();
    made.send("a", 3);
    await made.run(1000);

    for (const node of made.alive) node.connect();
    await made.run(8000);
    made.send("a");
    await made.run(1000);

    await verify(made, "both deaf");
    expect(await made.story()).toMatch(/^z0 gap\(a,b,p\) gap\(a,b,p\) a4$/);
  });

  test("a node without a past, by a clock that is behind, is not taken for an old one", async () => {
    const made = await world(0);
    made.maxSkewMs = 10_000;
    for (let seed = 0; seed < 8; seed++) {
      made.addNode();
      await made.run(4000);
      made.send("a", 3);
      made.send("p", 3);
      await made.run(2000);
      for (const node of made.alive) node.kill();
    }

    made.addNode();
    await made.run(8000);
    made.send("a");
    await made.run(3000);

    await verify(made, "skewed clocks");
  });
});

describe("channels that are opened late", () => {
  test("the gap is in the log before the channel is said to be carried", async () => {
    const made = await settled(2);
    made.appends = "refused";

    made.open("c");
    await made.run(5000);
    expect(made.alive.flatMap(({ carried }) => carried)).not.toContain("c");
    made.appends = "well";
    await made.run(3000);

    expect(made.holder!.carried).toContain("c");
    expect(await made.story()).toBe("z0 gap(a,b,p) gap(c)");
  });

  test("a subscriber does not wait for the next beat", async () => {
    const made = await settled(2);

    made.open("c");
    await pass(100);

    expect(made.holder!.carried).toContain("c");
  });

  test("many at once cost one mark", async () => {
    const { relay, feed, carried } = await alone();
    relay.start();
    await pass(100);
    feed.marks = 0;

    for (let i = 0; i < 50; i++) feed.listener!.opened(`c${i}`);
    await pass(100);

    expect(feed.marks).toBe(1);
    expect(carried).toHaveLength(50);
  });

  test("a channel that was closed and opened again tells what it may have missed", async () => {
    const made = await settled(1);
    made.holder!.close("a");
    await made.run(1000);
    made.send("a", 3);

    made.holder!.open("a");
    await made.run(3000);
    made.send("a");
    await made.run(1000);

    expect(await made.story()).toBe("z0 gap(a,b,p) gap(a) a4");
  });

  test("a holder that dies before the gap is told leaves it to the next", async () => {
    const made = await settled(2);
    made.appends = "refused";
    made.open("c");
    await made.run(3000);

    made.holder!.kill();
    made.appends = "well";
    await made.run(5000);

    expect(await made.story()).toBe("z0 gap(a,b,p) gap(c)");
    expect(made.holder!.carried).toContain("c");
  });
});

describe("the bound on what is kept", () => {
  test("beyond it the oldest go, and a gap on everything stands in their place", async () => {
    const made = await world(0);
    made.maxKept = 100;
    made.addNode();
    await made.run(5000);
    made.appends = "refused";
    for (let i = 0; i < 50; i++) {
      made.send("a", 5);
      made.send("b", 5);
      await pass(20);
      expect(made.holder!.relay.kept).toBeLessThanOrEqual(100);
    }

    made.appends = "well";
    await made.run(5000);

    await verify(made, "overflow");
    expect(await made.story()).toMatch(/^z0 gap\(a,b,p\) gap\(a,b,p\) [ab]\d+ /);
  });

  test("a gap of one channel that waits does not hide what is dropped of the others", async () => {
    const made = await world(0);
    made.maxKept = 20;
    made.addNode();
    await made.run(5000);
    made.appends = "refused";
    made.open("c");
    await made.run(1000);
    for (let i = 0; i < 40; i++) {
      made.send("a");
      await pass(10);
    }

    made.appends = "well";
    await made.run(5000);

    await verify(made, "overflow behind a gap");
    expect(made.holder!.carried).toContain("c");
  });

  test("what one that doesn't hold the lease had to drop it tells when it takes over", async () => {
    const made = await world(0);
    made.maxKept = 20;
    made.addNode();
    made.addNode();
    await made.run(8000);
    made.appends = "refused";
    for (let i = 0; i < 60; i++) {
      made.send("a");
      await pass(50);
    }

    made.holder!.kill();
    made.appends = "well";
    await made.run(6000);

    await verify(made, "standby overflow");
  });
});

/** One node whose feed and lease are in the test's hands. */
async function byHand(options: { maxKept?: number; maxKeptBytes?: number } = {}) {
  const log = new MemoryLog();
  await log.append([{ draft: message("z", 0) }]);
  const lease = new SwitchableLease();
  const sent: Mark[] = [];
  let listener: FeedListener | undefined;
  const relay = new Relay({
    feed: {
      name: "feed",
      listen: (own) => {
        listener = own;
      },
      sendMark: async (mark) => {
        sent.push(mark);
      },
    },
    lease,
    publisher: log,
    log,
    ingress: "redis",
    interpret: (channel, text) => [message(channel, Number(text))],
    affected: (channels) => channels ?? ["a"],
    meter: noMeter,
    logger: noLogger,
    ...options,
  });
  relay.start();
  const story = async () => {
    await pass(10);
    const { entries } = await log.read({ epoch: 0, n: 0 }, 1000);
    return entries.slice(1).map((entry) => (isGap(entry) ? "gap" : `${entry.channel}${entry.payload}`));
  };
  /** The mark that the holder sent last comes back. */
  const echo = () => listener!.mark(sent.at(-1)!);
  return { relay, log, lease, sent, echo, story, feed: listener! };
}

describe("by hand", () => {
  test("nothing is published before the holder's own mark came back, and the gap goes first", async () => {
    const { feed, lease, echo, story } = await byHand();
    feed.mark({ mark: 10, done: 0 });
    feed.message("a", "1");

    lease.set(true);
    feed.message("a", "2");
    expect(await story()).toEqual([]);
    echo();

    expect(await story()).toEqual(["gap", "a1", "a2"]);
  });

  test("a report about a mark that was heard makes a takeover whole", async () => {
    const { feed, lease, echo, story } = await byHand();
    feed.mark({ mark: 10, done: 0 });
    feed.message("a", "1");
    feed.mark({ mark: 20, done: 10 });

    lease.set(true);
    await pass();
    echo();

    expect(await story()).toEqual(["a1"]);
  });

  test("a report about a mark that was not heard proves nothing", async () => {
    const { feed, lease, echo, story } = await byHand();
    feed.mark({ mark: 10, done: 0 });
    feed.message("a", "1");
    feed.mark({ mark: 20, done: 5 });
    feed.mark({ mark: 30, done: 15 });

    lease.set(true);
    await pass();
    echo();

    expect(await story()).toEqual(["gap", "a1"]);
  });

  test("what was counted from a mark below the others' is not believed", async () => {
    const { feed, lease, echo, story } = await byHand();
    feed.mark({ mark: 10, done: 5 });
    feed.message("a", "1");
    feed.mark({ mark: 20, done: 15 });
    feed.message("a", "2");

    lease.set(true);
    await pass();
    echo();

    expect(await story()).toEqual(["gap", "a2"]);
  });

  test("a mark below the others' is answered with one above, once a second", async () => {
    const { feed, sent } = await byHand();
    const mark = Date.now() + 60_000;
    feed.mark({ mark, done: 5 });

    for (let i = 1; i < 5; i++) feed.mark({ mark: mark - i, done: 0 });
    await pass();

    expect(sent).toEqual([{ mark: mark + 1, done: 5 }]);
  });

  test("messages that the log takes for old ones are told, and those after them published", async () => {
    const { feed, log, lease, echo, story } = await byHand();
    await log.append([{ draft: message("z", 0), fence: { source: "feed:a", position: [Date.now() + 60_000, 1] } }]);
    lease.set(true);
    await pass();
    echo();

    feed.message("a", "1");
    expect(await story()).toEqual(["z0", "gap"]);
    echo();
    feed.message("a", "2");

    expect(await story()).toEqual(["z0", "gap", "gap", "a2"]);
  });

  test("a gap that stands for many is forgotten only when all of them are done", async () => {
    const { feed, lease, echo, story, relay } = await byHand({ maxKept: 5 });
    feed.mark({ mark: 10, done: 0 });
    feed.mark({ mark: 20, done: 10 });
    for (let i = 1; i <= 10; i++) {
      feed.message("a", String(i));
      if (i % 2 === 0) feed.mark({ mark: 20 + i, done: 20 });
    }
    expect(relay.kept).toBeLessThanOrEqual(5);

    feed.mark({ mark: 40, done: 22 });
    lease.set(true);
    await pass();
    echo();

    const told = await story();
    expect(told[0]).toBe("gap");
    expect(told.at(-1)).toBe("a10");
  });

  test("a message that comes in the very moment in which the last was published is not left behind", async () => {
    for (let moments = 0; moments < 25; moments++) {
      const { feed, lease, echo, story } = await byHand();
      lease.set(true);
      await pass();
      echo();
      await pass(10);

      feed.message("a", "1");
      for (let i = 0; i < moments; i++) await null;
      feed.message("a", "2");

      expect(await story()).toEqual(["gap", "a1", "a2"]);
    }
  });

  test("what was published no longer counts towards the bound on bytes", async () => {
    const { feed, lease, echo, story } = await byHand({ maxKeptBytes: 2000 });
    lease.set(true);
    await pass();
    echo();

    for (let i = 1; i <= 100; i += 2) {
      feed.message("a", String(i));
      feed.message("a", String(i + 1));
      await pass(5);
    }

    expect(await story()).toEqual(["gap", ...Array.from({ length: 100 }, (_, i) => `a${i + 1}`)]);
  });
});

test.each([
  ["equal clocks", 0],
  ["clocks that differ by some milliseconds", 20],
])(
  "whatever happens, each message is published once and in order, or told: %s",
  async (_what, maxSkewMs) => {
    const from = Number(process.env.SEED ?? 1);
    for (let seed = from; seed < from + Number(process.env.SEEDS ?? 60); seed++) {
      const made = await world(0, seed);
      made.maxSkewMs = maxSkewMs;
      await chaos(made, 150);
      for (const channel of [...made.channels, "p"]) made.send(channel);
      await made.run(10_000);

      await verify(made, `seed ${seed}`);
      const story = await made.story();
      for (const channel of [...made.channels, "p"]) {
        expect(story, `seed ${seed}: ${channel} goes on`).toContain(
          `${channel}${made.sent.filter((one) => one.channel === channel).length}`,
        );
      }
      vi.clearAllTimers();
    }
  },
  120_000,
);
