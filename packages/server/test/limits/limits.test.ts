import { EventEmitter } from "node:events";
import type { IncomingMessage } from "node:http";
import { noLogger } from "@carillon/core";
import { CarillonError } from "@carillon/protocol";
import { RateLimiterMemory } from "rate-limiter-flexible";
import { describe, expect, test, vi } from "vitest";
import { Addresses, DEFAULT_MAX } from "../../src/limits/addresses.ts";
import { MessageRate } from "../../src/limits/message-rate.ts";
import { Quota, WINDOW_S } from "../../src/limits/quota.ts";
import { type Closes, UserConnections } from "../../src/limits/users.ts";

const counter = () => {
  const counts: string[] = [];
  return { counts, meter: { count: (key: string) => void counts.push(key) } };
};
const limited = expect.objectContaining({ code: "RATE_LIMITED", retryAfterS: expect.any(Number) });

describe("quotas", () => {
  test("two nodes share one, nearly to the unit, without asking for each", async () => {
    const cluster = new RateLimiterMemory({ points: 1000, duration: WINDOW_S });
    let asked = 0;
    const shared = (key: string, points: number) => {
      asked++;
      return cluster.consume(key, points);
    };
    const { meter } = counter();
    const nodes = [1, 2].map(() => new Quota({ perSecond: 100, shared, meter }));

    const outcomes = await Promise.allSettled(Array.from({ length: 1500 }, (_, i) => nodes[i % 2]!.consume("key:a")));

    const passed = outcomes.filter(({ status }) => status === "fulfilled").length;
    expect(passed).toBeGreaterThan(970);
    expect(passed).toBeLessThanOrEqual(1000);
    expect(asked).toBeLessThan(150);
    expect(outcomes.at(-1)).toMatchObject({ status: "rejected", reason: limited });
    await expect(nodes[0]!.consume("key:b")).resolves.toBe(undefined);
  });

  test("while the others can't be asked a node counts alone, and that is counted", async () => {
    const { meter, counts } = counter();
    const quota = new Quota({ perSecond: 1, shared: () => Promise.reject(new Error("away")), meter });

    for (let i = 0; i < WINDOW_S; i++) await quota.consume("key:a");

    await expect(quota.consume("key:a")).rejects.toThrow(limited);
    expect(counts).toContain("limitsLocal");
  });

  test("what can never pass is said so, and what is refused comes back in time", async () => {
    const { meter } = counter();
    const quota = new Quota({ perSecond: 2, meter });

    await expect(quota.consume("a", 21)).rejects.toThrow(limited);
    await quota.consume("a", 20);
    const error = (await quota.consume("a").catch((thrown: unknown) => thrown)) as CarillonError;

    expect(error.retryAfterS).toBeGreaterThanOrEqual(1);
    expect(error.retryAfterS).toBeLessThanOrEqual(WINDOW_S);
  });
});

describe("messages", () => {
  test("a burst passes, more is refused with a time, and who goes on is found out", () => {
    const rate = new MessageRate({ perSecond: 10, burst: 50 });
    const client = {};
    const verdicts = Array.from({ length: 200 }, () => rate.take(client));

    expect(verdicts.slice(0, 50).every(({ verdict }) => verdict === "ok")).toBe(true);
    expect(verdicts[60]).toMatchObject({ verdict: "refused", error: limited });
    expect(verdicts.at(-1)!.verdict).toBe("abuse");
    expect(verdicts.findIndex(({ verdict }) => verdict === "abuse")).toBeGreaterThanOrEqual(100);
    expect(rate.take({}).verdict).toBe("ok");
  });

  test("who slows down is let in again", () => {
    vi.useFakeTimers({ toFake: ["performance"] });
    try {
      const rate = new MessageRate({ perSecond: 10, burst: 10 });
      const client = {};
      for (let i = 0; i < 15; i++) rate.take(client);
      expect(rate.take(client).verdict).toBe("refused");

      vi.advanceTimersByTime(1000);

      expect(rate.take(client).verdict).toBe("ok");
    } finally {
      vi.useRealTimers();
    }
  });
});

describe("addresses", () => {
  const request = (remoteAddress: string, forwarded?: string) =>
    ({
      socket: { remoteAddress },
      headers: forwarded === undefined ? {} : { "x-forwarded-for": forwarded },
    }) as unknown as IncomingMessage;

  test("each has its own count, given back once", () => {
    const addresses = new Addresses({ max: 2, trustProxy: false });
    const [one, two] = [addresses.hold(request("192.0.2.1")), addresses.hold(request("::ffff:192.0.2.1"))];

    expect(addresses.refuse(request("192.0.2.1"))).toMatchObject({
      code: "TOO_MANY_CONNECTIONS",
      retryAfterS: expect.any(Number),
    });
    expect(addresses.refuse(request("192.0.2.2"))).toBe(undefined);
    one();
    one();
    expect(addresses.refuse(request("192.0.2.1"))).toBe(undefined);
    addresses.hold(request("192.0.2.1"));
    expect(addresses.refuse(request("192.0.2.1"))).not.toBe(undefined);
    two();
  });

  test("X-Forwarded-For counts only where TRUST_PROXY trusts who sent it", () => {
    const spoofing = (trustProxy: ConstructorParameters<typeof Addresses>[0]["trustProxy"], from: string) => {
      const addresses = new Addresses({ max: 3, trustProxy });
      return Array.from({ length: 10 }, (_, i) => {
        const made = request(from, `203.0.113.${i}, 198.51.100.7`);
        if (addresses.refuse(made) !== undefined) return "refused";
        addresses.hold(made);
        return "ok";
      }).filter((verdict) => verdict === "ok").length;
    };

    expect(spoofing(false, "10.0.0.1")).toBe(3);
    expect(spoofing("10.0.0.0/8", "192.0.2.1")).toBe(3);
    expect(spoofing("10.0.0.0/8", "10.0.0.1")).toBe(3); // the nearest hop that isn't trusted: 198.51.100.7
    expect(spoofing(1, "10.0.0.1")).toBe(3);
    expect(spoofing(true, "10.0.0.1")).toBe(10);
  });

  test("a /64 of IPv6 is one address, whatever spelling", () => {
    const addresses = new Addresses({ max: 1, trustProxy: false });
    addresses.hold(request("2001:db8:0:7::1"));

    for (const same of ["2001:db8::7:0:0:0:2", "2001:0db8:0000:0007:ffff::", "2001:db8:0:7:1:2:3:4"])
      expect([same, addresses.refuse(request(same)) !== undefined]).toEqual([same, true]);
    for (const other of ["2001:db8:0:8::1", "2001:db8::1", "::1"])
      expect([other, addresses.refuse(request(other))]).toEqual([other, undefined]);
  });

  test("without a setting, a private address is not limited unless proxies are told apart", () => {
    const fill = (from: string, trustProxy: boolean) => {
      const addresses = new Addresses({ max: undefined, trustProxy });
      for (let i = 0; i < DEFAULT_MAX; i++) addresses.hold(request(from));
      return addresses.refuse(request(from)) !== undefined;
    };

    expect([fill("192.0.2.1", false), fill("172.18.0.5", false), fill("::1", false), fill("172.18.0.5", true)]).toEqual(
      [true, false, false, true],
    );
  });
});

describe("users", () => {
  const engine = () => {
    const emitter = new EventEmitter();
    const onClose = (listener: () => void) => emitter.once("close", listener);
    return Object.assign(emitter, { isOpen: true, onClose }) satisfies Closes;
  };
  const tooMany = expect.objectContaining({ code: "TOO_MANY_CONNECTIONS" });

  test("a transport counts once however many namespaces it joins, until it closes", async () => {
    const users = new UserConnections({ max: 2, seats: undefined, meter: counter().meter, logger: noLogger });
    const [one, two, three] = [engine(), engine(), engine()];
    for (const transport of [one, one, two, one]) await users.admit("42", transport);

    await expect(users.admit("42", three)).rejects.toThrow(tooMany);
    await users.admit("43", three);
    one.emit("close");

    await expect(users.admit("42", engine())).resolves.toBe(undefined);
    await expect(users.admit("42", engine())).rejects.toThrow(tooMany);
  });

  test("the cluster's no is one, and its seat is given back; while it can't be asked this node counts alone", async () => {
    const { meter, counts } = counter();
    let answer: () => Promise<boolean> = async () => false;
    const left: string[] = [];
    const seats = { take: () => answer(), leave: async (user: string) => void left.push(user), keep: async () => {} };
    const users = new UserConnections({ max: 2, seats, meter, logger: noLogger });

    await expect(users.admit("42", engine())).rejects.toThrow(tooMany);
    answer = () => Promise.reject(new CarillonError("BUS_UNAVAILABLE"));
    await users.admit("42", engine());
    await users.admit("42", engine());
    await expect(users.admit("42", engine())).rejects.toThrow(tooMany);

    expect(left).toEqual(["42"]);
    expect(counts).toEqual(["limitsLocal", "limitsLocal"]);
  });

  test("one that closes while it is being counted leaves nothing behind", async () => {
    const { promise, resolve } = Promise.withResolvers<boolean>();
    const taken = new Set<string>();
    const seats = {
      take: async (_user: string, seat: string) => {
        const verdict = await promise;
        taken.add(seat);
        return verdict;
      },
      leave: async (_user: string, seat: string) => void taken.delete(seat),
      keep: async () => {},
    };
    const users = new UserConnections({ max: 1, seats, meter: counter().meter, logger: noLogger });
    const transport = engine();
    const admitting = users.admit("42", transport);
    transport.emit("close");
    resolve(true);
    await admitting;

    expect(taken.size).toBe(0);
    await expect(users.admit("42", engine())).resolves.toBe(undefined);
  });
});
