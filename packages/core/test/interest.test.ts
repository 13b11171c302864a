import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { Interest, type InterestRegistry, noLogger } from "../src/index.ts";

beforeEach(() => {
  vi.useFakeTimers();
});
afterEach(() => {
  vi.useRealTimers();
});

/** Answers as late as one over a network, and fails when told to. */
class SlowRegistry implements InterestRegistry {
  told: string[][] = [];
  failing = false;
  known = new Set<string>();
  #confirmed: ((channels: readonly string[]) => void)[] = [];

  async want(channels: readonly string[]): Promise<void> {
    const set = [...channels];
    await new Promise((resolve) => setTimeout(resolve, 10));
    if (this.failing) throw new Error("away");
    this.told.push(set);
  }
  async release(): Promise<void> {}
  async wanted(): Promise<string[]> {
    return this.told.at(-1) ?? [];
  }
  async confirm(channels: readonly string[]): Promise<void> {
    for (const listener of this.#confirmed) listener(channels);
  }
  onWanted(): void {}
  onConfirmed(listener: (channels: readonly string[]) => void): void {
    this.#confirmed.push(listener);
  }
  async confirmed(channel: string): Promise<boolean> {
    await new Promise((resolve) => setTimeout(resolve, 10));
    return this.known.has(channel);
  }
}

function subject(maxChannels = 100) {
  const registry = new SlowRegistry();
  const interest = new Interest({
    registry,
    isCustom: (channel) => channel !== "chat",
    maxChannels,
    confirmTimeoutMs: 500,
    logger: noLogger,
  });
  const acquire = (channel: string) => {
    const state = { held: false, error: undefined as unknown, release: () => {} };
    interest.acquire(channel).then(
      (release) => Object.assign(state, { held: true, release }),
      (error) => Object.assign(state, { error }),
    );
    return state;
  };
  return { registry, interest, acquire };
}

const pass = (ms = 0) => vi.advanceTimersByTimeAsync(ms);

describe("acquire", () => {
  test("it waits until LISTEN holds", async () => {
    const { registry, acquire } = subject();

    const own = acquire("a");
    await pass(100);
    expect(own.held).toBe(false);
    await registry.confirm(["a"]);
    await pass();

    expect(own.held).toBe(true);
    expect(registry.told).toEqual([["a"]]);
    expect(vi.getTimerCount()).toBe(0);
  });

  test("it waits no longer than its bound", async () => {
    const { acquire } = subject();

    const own = acquire("a");
    await pass(499);
    expect(own.held).toBe(false);
    await pass(1);

    expect(own.held).toBe(true);
  });

  test("what another node had confirmed is held at once", async () => {
    const { registry, acquire } = subject();
    registry.known.add("a");

    const own = acquire("a");
    await pass(10);

    expect(own.held).toBe(true);
  });

  test("the second holder of a confirmed channel does not wait", async () => {
    const { registry, acquire } = subject();
    acquire("a");
    await registry.confirm(["a"]);

    const second = acquire("a");
    await pass();

    expect(second.held).toBe(true);
  });

  test("a channel that needs no LISTEN is never told to anybody", async () => {
    const { registry, interest, acquire } = subject();

    const own = acquire("chat");
    await pass(100);
    own.release();

    expect([own.held, interest.size, registry.told]).toEqual([true, 0, []]);
  });
});

describe("release", () => {
  test("LISTEN stays a minute after the last holder, and then goes", async () => {
    const { registry, interest, acquire } = subject();
    registry.known.add("a");
    const holders = [acquire("a"), acquire("a")];
    await pass(10);

    holders[0]!.release();
    holders[0]!.release();
    await pass(120_000);
    expect(interest.size).toBe(1);
    holders[1]!.release();
    await pass(59_999);
    expect(interest.size).toBe(1);
    await pass(11);

    expect(interest.size).toBe(0);
    expect(registry.told).toEqual([["a"], []]);
  });

  test("who comes back within the minute keeps it", async () => {
    const { registry, interest, acquire } = subject();
    registry.known.add("a");
    const first = acquire("a");
    await pass(10);
    first.release();
    await pass(59_000);

    const second = acquire("a");
    await pass(120_000);

    expect([second.held, interest.size]).toEqual([true, 1]);
    expect(registry.told).toEqual([["a"]]);
  });
});

describe("the registry", () => {
  test("changes while it is being told are told once more, together", async () => {
    const { registry, acquire } = subject();

    for (const channel of ["a", "b", "c", "d"]) acquire(channel);
    await pass(100);

    expect(registry.told).toEqual([["a"], ["a", "b", "c", "d"]]);
  });

  test("it is told again until it has it", async () => {
    const { registry, acquire } = subject();
    registry.failing = true;
    acquire("a");
    await pass(5000);
    expect(registry.told).toEqual([]);

    registry.failing = false;
    await pass(1100);

    expect(registry.told).toEqual([["a"]]);
  });
});

describe("the bound", () => {
  test("one channel more than may be is refused, and holds nothing", async () => {
    const { interest, acquire } = subject(2);
    acquire("a");
    acquire("b");

    const third = acquire("c");
    const again = acquire("b");
    await pass(500);

    expect(third.error).toMatchObject({ code: "TOO_MANY_LISTEN_CHANNELS" });
    expect([again.held, interest.size]).toEqual([true, 2]);
  });

  test("a channel that nobody holds any more makes room", async () => {
    const { interest, acquire, registry } = subject(2);
    acquire("a");
    const second = acquire("b");
    await pass(500);
    second.release();

    const third = acquire("c");
    await pass(500);

    expect([third.held, third.error, interest.size]).toEqual([true, undefined, 2]);
    expect(registry.told.at(-1)).toEqual(["a", "c"]);
  });
});

test("stopping lets go of everybody and leaves no timer", async () => {
  const { interest, registry, acquire } = subject();
  registry.known.add("a");
  const first = acquire("a");
  await pass(10);
  first.release();
  const waiting = acquire("b");

  interest.stop();
  await pass(20);

  expect(waiting.held).toBe(true);
  expect(vi.getTimerCount()).toBe(0);
});
