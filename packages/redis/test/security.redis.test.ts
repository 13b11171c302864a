/** Revocations, tickets and seats: what nodes must agree on. */
import { sharedRedis, waitFor } from "@carillon/testkit";
import { Redis } from "ioredis";
import { describe, expect, onTestFinished, test } from "vitest";
import { connectRedis, RedisRevocations, RedisSeats, RedisTickets } from "../src/index.ts";

async function world() {
  const { url, prefix } = await sharedRedis();
  const connect = () => {
    const connections = connectRedis({ url, prefix });
    onTestFinished(() => connections.close());
    return connections;
  };
  const redis = new Redis(url);
  onTestFinished(() => redis.disconnect());
  return { connect, redis, prefix };
}

describe("revocations", () => {
  test("are told to the others, found by those who come later, and never move back in time", async () => {
    const { connect } = await world();
    const [a, b] = [connect(), connect()].map((connections) => new RedisRevocations(connections, { retentionS: 60 }));
    const heard: object[] = [];
    b!.onRevoked((revocation) => heard.push(revocation));
    b!.start();
    onTestFinished(() => b!.stop());
    const now = Date.now();
    await waitFor(
      async () => {
        await a!.revoke({ user: "early", beforeMs: now });
        return heard.length > 0;
      },
      { what: "the subscription" },
    );

    await a!.revoke({ user: '4"2\u{1f600}', sid: "s", beforeMs: now, reason: "logout" });
    await a!.revoke({ user: '4"2\u{1f600}', sid: "s", beforeMs: now - 5000 });

    await waitFor(() => heard.some((one) => "reason" in one && one.reason === "logout"), { what: "the telling" });
    expect(await new RedisRevocations(connect(), { retentionS: 60 }).load()).toContainEqual({
      user: '4"2\u{1f600}',
      sid: "s",
      beforeMs: now,
    });
  });

  test("those older than any token go, and what somebody else wrote there is skipped", async () => {
    const { connect, redis, prefix } = await world();
    const revocations = new RedisRevocations(connect(), { retentionS: 60 });
    await redis.zadd(
      `{${prefix}}:revocations`,
      Date.now(),
      "nonsense",
      Date.now(),
      '{"a":1}',
      Date.now() - 61_000,
      '["old",null]',
    );

    await revocations.revoke({ user: "42", beforeMs: Date.now() });

    expect((await revocations.load()).map(({ user }) => user)).toEqual(["42"]);
    expect(await redis.zcard(`{${prefix}}:revocations`)).toBe(3);
  });
});

describe("tickets", () => {
  const ticket = (more: object = {}) => ({
    text: 'a "text" \u{1f600} with\nlines',
    untilMs: Date.now() + 30_000,
    streamUntilMs: Date.now() + 60_000,
    ...more,
  });

  test("one is redeemed once, on any node", async () => {
    const { connect } = await world();
    const [a, b] = [new RedisTickets(connect()), new RedisTickets(connect())];
    await a.put("k", ticket());

    const outcomes = await Promise.all([a, b, a, b].map((tickets) => tickets.redeem("k", "once")));

    expect(outcomes.filter((text) => text !== undefined)).toEqual([ticket().text]);
    expect(await a.redeem("k", "stream:chat")).toBe(undefined);
  });

  test("a stream's ticket opens it again and nothing else, until the end", async () => {
    const { connect, redis, prefix } = await world();
    const tickets = new RedisTickets(connect());
    await tickets.put("k", ticket({ untilMs: Date.now() + 500 }));
    await tickets.put("never-ending", ticket({ streamUntilMs: Number.MAX_SAFE_INTEGER }));

    expect(await tickets.redeem("k", "stream:chat")).toBe(ticket().text);
    expect(await tickets.redeem("k", "once")).toBe(undefined);
    expect(await tickets.redeem("k", "stream:trips")).toBe(undefined);
    expect(await tickets.redeem("k", "stream:chat")).toBe(ticket().text);
    expect(await redis.pttl(`{${prefix}}:ticket:k`)).toBeGreaterThan(50_000);
    expect(await tickets.redeem("never-ending", "stream:chat")).toBe(ticket().text);
    expect(await tickets.redeem("never-ending", "stream:chat")).toBe(ticket().text);
  });

  test("one that nobody used is gone by itself", async () => {
    const { connect, redis, prefix } = await world();
    const tickets = new RedisTickets(connect());
    await tickets.put("k", ticket({ untilMs: Date.now() + 100 }));

    await waitFor(async () => (await redis.exists(`{${prefix}}:ticket:k`)) === 0, { what: "its end" });

    expect(await tickets.redeem("k", "once")).toBe(undefined);
  });
});

describe("seats", () => {
  test("the limit holds over nodes, and a seat that was left is free", async () => {
    const { connect } = await world();
    const [a, b] = ["a", "b"].map((node) => new RedisSeats(connect(), { node, timeoutMs: 1000 }));
    for (const seats of [a!, b!]) {
      seats.start();
      onTestFinished(() => seats.stop());
    }
    await new RedisSeats(connect(), { node: "c", timeoutMs: 1000 }).take("other", "1", 1);

    const taken = await Promise.all([1, 2, 3, 4].flatMap((i) => [a!.take("42", `${i}`, 3), b!.take("42", `${i}`, 3)]));
    expect(taken.filter(Boolean)).toHaveLength(3);
    const [first] = [1, 2, 3, 4].filter((_, i) => taken[2 * i]);
    if (first !== undefined) await a!.leave("42", `${first}`);
    else await b!.leave("42", "1");

    expect(await b!.take("42", "5", 3)).toBe(true);
    expect(await b!.take("42", "6", 3)).toBe(false);
    expect(await b!.take("42", "5", 3)).toBe(true);
  });

  test("seats of a dead node are no longer counted, those of a living one are", async () => {
    const { connect, redis, prefix } = await world();
    const [dead, living] = ["dead", "living"].map((node) => new RedisSeats(connect(), { node, timeoutMs: 1000 }));
    living!.start();
    onTestFinished(() => living!.stop());
    dead!.start();
    await waitFor(() => redis.exists(`{${prefix}}:alive:dead`), { what: "a sign of life" });
    expect([
      await dead!.take("42", "1", 2),
      await living!.take("42", "1", 2),
      await living!.take("42", "2", 2),
    ]).toEqual([true, true, false]);

    dead!.stop();
    await redis.del(`{${prefix}}:alive:dead`); // as it would be in eight seconds

    expect([await living!.take("42", "2", 2), await living!.take("42", "3", 2)]).toEqual([true, false]);
  });

  test("a Redis that lost its data is told again who is here", async () => {
    const { connect, redis, prefix } = await world();
    const seats = new RedisSeats(connect(), { node: "a", timeoutMs: 1000 });
    seats.start();
    onTestFinished(() => seats.stop());
    await seats.take("42", "1", 1);
    await redis.del(`{${prefix}}:seats:42`);

    await seats.keep([["42", "1"]]);

    await waitFor(() => redis.exists(`{${prefix}}:alive:a`), { what: "a sign of life" });
    expect(await seats.take("42", "2", 1)).toBe(false);
  });
});
