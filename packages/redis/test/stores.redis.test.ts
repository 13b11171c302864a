import { noMeter } from "@carillon/core";
import { sharedRedis, waitFor } from "@carillon/testkit";
import { describe, expect, onTestFinished, test } from "vitest";
import { connectRedis, RedisInterestRegistry, RedisLog, RedisPresence, RedisSessions } from "../src/index.ts";
import { message } from "./nodes.ts";

async function connections() {
  const made = connectRedis(await sharedRedis());
  onTestFinished(() => made.close());
  return made;
}

describe("session records", () => {
  const record = { sub: "u", namespace: "/", rooms: [], channels: [], replays: [] };

  test("that somebody else wrote in another form are none", async () => {
    const at = await connections();
    const sessions = new RedisSessions(at, { ttlS: 60 });
    const forms = [
      "",
      "{",
      "null",
      "[]",
      '{"sub":"u"}',
      JSON.stringify({ ...record, rooms: [["trips"]] }),
      JSON.stringify({ ...record, sub: 5 }),
    ];

    for (const form of forms) {
      await at.commands.run((redis) => redis.set(at.names.session("p"), form));
      expect(await sessions.load("p"), form).toBeUndefined();
    }
  });

  test("go when nobody touches them", async () => {
    const at = await connections();
    const sessions = new RedisSessions(at, { ttlS: 1 });
    await sessions.save("kept", record);
    await sessions.save("left", record);

    await waitFor(
      async () => {
        await sessions.touch(["kept"]);
        return (await sessions.load("left")) === undefined;
      },
      { what: "the other record to go", everyMs: 100 },
    );

    expect(await sessions.load("kept")).toEqual(record);
  });
});

describe("interest", () => {
  test("is repeated while it is wanted, and gone soon after", async () => {
    const one = await connections();
    const node = new RedisInterestRegistry(one, { refreshMs: 100, pollMs: 100 });
    node.start();
    onTestFinished(() => node.stop());
    let told = 0;
    node.onWanted(() => told++);

    await node.want(["a"]);
    await node.confirm(["a"]);
    await new Promise((resolve) => setTimeout(resolve, 600)); // two lifetimes: the condition is that nothing changes
    expect(await node.wanted()).toEqual(["a"]);
    expect(await node.confirmed("a")).toBe(true);
    await node.want([]);

    await waitFor(async () => (await node.wanted()).length === 0, { what: "the wish to go" });
    await waitFor(async () => !(await node.confirmed("a")), { what: "the confirmation to go with it" });
    await waitFor(() => told === 2, { what: "both changes to be told" });
  });
});

describe("the log", () => {
  test("begins an epoch above the last one even where the clock is behind it", async () => {
    const at = await connections();
    const log = new RedisLog(at, { retentionS: 60, maxEntries: 100 });
    await log.append([message(1)]);

    await at.commands.redis.hset(at.names.meta, { run: "another", e: "99999999999999" });

    expect(await log.head()).toEqual({ epoch: 100_000_000_000_000, n: 0 });
    expect(await log.append([message(1)])).toEqual([{ outcome: "appended", id: "100000000000000-1" }]);
  });

  test("begins an epoch above every one that a node knows, where Redis forgot it and the clock is behind it", async () => {
    const [one, other] = [await connections(), await connections()];
    const options = { retentionS: 60, maxEntries: 100 };
    const knows = new RedisLog(one, options);
    const joined = new RedisLog({ ...other, names: one.names }, options);
    await one.commands.run((redis) => redis.hset(one.names.meta, { run: "another", e: "99999999999999" }));
    expect(await knows.head()).toEqual({ epoch: 100_000_000_000_000, n: 0 });

    await one.commands.redis.del(one.names.meta, one.names.log);
    expect((await joined.head()).epoch).toBeLessThan(99_999_999_999_999);

    expect(await knows.append([message(1)])).toEqual([{ outcome: "appended", id: "100000000000001-1" }]);
    expect(await joined.head()).toEqual({ epoch: 100_000_000_000_001, n: 1 });
  });

  test("begins anew where somebody else wrote above its head, and nobody hears that", async () => {
    const at = await connections();
    const log = new RedisLog(at, { retentionS: 60, maxEntries: 100 });
    await log.append([message(1)]);
    const before = await log.head();
    await at.commands.redis.xadd(at.names.log, "*", "a", "b");

    expect(await log.read({ ...before, n: 0 }, 10)).toMatchObject({ entries: [{ payload: "1" }], head: before });
    const [result] = await log.append([message(2)]);

    const after = await log.head();
    expect(after.epoch).toBeGreaterThan(before.epoch);
    expect(result).toEqual({ outcome: "appended", id: `${after.epoch}-1` });
    expect(await log.read(before, 10)).toMatchObject({ entries: [{ payload: "2" }], head: after });
  });

  test("tells a gap in place of an entry that it can't read", async () => {
    const at = await connections();
    const log = new RedisLog(at, { retentionS: 60, maxEntries: 100 });
    const { epoch } = await log.head();
    await at.commands.redis.xadd(at.names.log, `${epoch}-1`, "t", "5", "r", "nonsense");
    await at.commands.redis.hset(at.names.meta, "n", "1");

    const { entries } = await log.read({ epoch, n: 0 }, 10);

    expect(entries).toEqual([{ id: `${epoch}-1`, timestampMs: 5, gap: {} }]);
  });
});

describe("presence", () => {
  const client = { foreground: true, sinceMs: 1 };
  const put = (node: RedisPresence, ...users: string[]) => node.put(new Map(users.map((user) => [user, [client]])));

  test("records that somebody else wrote in another form are none, and counted", async () => {
    const at = await connections();
    const drops: unknown[] = [];
    const meter = { ...noMeter, count: (_key: string, _by?: number, labels?: object) => void drops.push(labels) };
    const node = new RedisPresence(at, { node: "a", meter });
    await node.beat();
    const forms = ["", "{", "null", '{"a":1}', "[1]", '[["yes",1]]', '[[true,"1"]]', "[[true,1,2]]"];

    for (const form of forms) {
      await at.commands.run((redis) => redis.hset(at.names.key("presence:of:a"), "u", form));
      expect(await node.read(["u"]), form).toEqual(new Map());
    }

    expect(drops).toEqual(forms.map(() => ({ reason: "presence_record" })));
  });

  test("when all nodes died, the first that starts tells who left, and nothing of theirs stays in Redis", async () => {
    const at = await connections();
    const dead = ["a", "b", "c"].map((node) => new RedisPresence(at, { node, leaseMs: 300 }));
    for (const node of dead) await node.beat();
    for (const node of dead) await put(node, "everywhere", `only ${dead.indexOf(node)}`);

    const next = new RedisPresence(at, { node: "d" });
    const left: string[] = [];
    await next.beat();
    await waitFor(async () => left.push(...(await next.sweep())) >= 4, { what: "everybody to have left" });

    expect(left.toSorted()).toEqual(["everywhere", "only 0", "only 1", "only 2"]);
    expect(await next.read(left)).toEqual(new Map());
    await next.leave(0);
    expect(await at.commands.run((redis) => redis.keys(`${at.names.key("presence")}*`))).toEqual([]);
  });

  test("a put that is sent again, as after a lost answer, changes nothing; one that comes too late is refused", async () => {
    const at = await connections();
    const node = new RedisPresence(at, { node: "a" });
    await node.beat();
    const sent: [string, number, ...(string | number)[]][] = [];
    const watched = {
      names: at.names,
      commands: {
        run: (send: (redis: unknown) => Promise<unknown>) =>
          at.commands.run((redis) =>
            send({
              eval: (...args: [string, number, ...(string | number)[]]) => {
                sent.push(args);
                return redis.eval(...args);
              },
            }),
          ),
      },
    };
    const other = new RedisPresence(watched as never, { node: "b" });
    await other.beat();
    await put(other, "u");
    const [, first] = sent;
    await other.put(new Map([["u", undefined]]));
    const last = sent.at(-1)!;

    expect(await at.commands.run((redis) => redis.eval(...last))).toEqual([[], []]);
    expect(await at.commands.run((redis) => redis.eval(...first!))).toBeNull();

    expect(await other.read(["u"])).toEqual(new Map());
    expect(await other.beat()).toBe(true);
  });
});
