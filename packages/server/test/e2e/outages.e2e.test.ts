/**
 * Redis and Postgres stop, forget, drop connections and subscriptions, under traffic by every way in: no node ends, no client is
 * disconnected, every client is whole or told, and readiness says what is the case and heals by itself (guarantees 1, 4 and 5).
 */
import { setTimeout as sleep } from "node:timers/promises";
import { type PostgresServer, queryAt, type RedisServer, startPostgres, startRedis, waitFor } from "@carillon/testkit";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { allHear, type Ear, expectLogOrder, openEars } from "./support/ear.ts";
import { type RedisTap, startRedisTap } from "./support/redis-tap.ts";
import { openStage, post, type Stage, total } from "./support/stage.ts";
import { expectWholeOrTold, messagesOn, refreshesOf, type Stream, type WholeOptions } from "./support/whole.ts";

const NODES = 3;
const PER_S = 40;
/** Readiness must have noticed by then. */
const NOTICED_MS = 5000;
const HEALED_MS = 20_000;

let redis: RedisServer;
let postgres: PostgresServer;
let tap: RedisTap;
let stage: Stage;
let ears: Ear[] = [];
let run = 0;

beforeAll(async () => {
  [redis, postgres] = await Promise.all([startRedis({ appendonly: "always" }), startPostgres()]);
  tap = await startRedisTap(redis.port);
  stage = await openStage({ nodes: NODES, redis, postgres, redisUrl: tap.url });
  ears = await openEars(stage.url, NODES, { channels: ["chat", "system", "work"] });
});
afterAll(async () => {
  for (const ear of ears) ear.close();
  await stage?.stop();
  tap?.close();
  await Promise.all([redis?.stop(), postgres?.stop()]);
});
beforeEach(() => {
  run++;
});

describe("Redis", () => {
  test("stopped and started again", async () => {
    await survive(async () => {
      await redis.stop();
      await everyNode(503, "down", NOTICED_MS);
      await redis.start();
    });
  });

  test("killed and started again", async () => {
    await survive(async () => {
      await redis.kill();
      await everyNode(503, "down", NOTICED_MS);
      await redis.start();
    });
  });

  test("wiped", async () => {
    await survive(() => redis.wipe(), { mayRepeatAfterGap: true });
  });

  test.each(["normal", "pubsub"])("connections killed: CLIENT KILL TYPE %s", async (type) => {
    await survive(async () => {
      const client = redis.client();
      try {
        expect(await client.call("CLIENT", "KILL", "TYPE", type)).toBeGreaterThanOrEqual(NODES);
      } finally {
        client.disconnect();
      }
    });
  });

  test.each([1, NODES])("the data subscription of %i node(s) dropped while the connection lives", async (nodes) => {
    const before = await total(stage.nodes, "carillon_bus_reconnects_total", { cause: "deaf" });

    await survive(async () => {
      expect(tap.say("subscriber", "PUNSUBSCRIBE", nodes)).toBe(nodes);
      expect(tap.say("subscriber", "UNSUBSCRIBE", nodes)).toBe(nodes);
      await waitFor(
        async () => (await total(stage.nodes, "carillon_bus_reconnects_total", { cause: "deaf" })) >= before + nodes,
        {
          what: `${nodes} node(s) to notice that they are deaf`,
          timeoutMs: NOTICED_MS + 10_000,
        },
      );
    });
  });

  test("the subscriptions of every feed dropped while the connections live", async () => {
    await survive(async () => {
      expect(tap.say("feed", "UNSUBSCRIBE")).toBe(NODES);
      expect(tap.say("feed", "PUNSUBSCRIBE")).toBe(NODES);
      await sleepUntilHeard("N");
    });
  });
});

describe("Postgres", () => {
  test.each(["SIGINT", "SIGQUIT"] as const)("stopped by %s and started again", async (signal) => {
    await survive(async () => {
      await postgres.kill(signal);
      await everyNode(200, "degraded", NOTICED_MS);
      await postgres.start();
    });
  });

  test.each(["fast", "immediate"] as const)("restarted: %s", async (mode) => {
    await survive(() => postgres.restart(mode));
  });

  test("every connection of the nodes terminated", async () => {
    await survive(async () => {
      await queryAt(
        postgres.url,
        "select pg_terminate_backend(pid) from pg_stat_activity where backend_type = 'client backend' and pid <> pg_backend_pid()",
      );
    });
  });
});

/** One more after everything, which a feed that was deaf must carry again. */
async function sleepUntilHeard(prefix: string): Promise<void> {
  const mark = `${prefix}AGAIN${run}`;
  await waitFor(
    async () => {
      await stage.publish("refresh.trips", mark);
      return ears.every((ear) => ear.scopes("/trips").includes(mark));
    },
    { what: "the feed to be heard again", timeoutMs: HEALED_MS, everyMs: 500 },
  );
}

/** Does harm while four kinds of publishers write, and checks that everybody is whole or told when it is over. */
async function survive(harm: () => Promise<unknown>, options: WholeOptions = {}): Promise<void> {
  const from = ears.map((ear) => ear.heard.length);
  const pids = stage.nodes.map(({ pid }) => pid);
  const flows = startFlows();
  await waitFor(() => flows.every(({ written }) => written.size >= 10), { what: "the traffic to flow" });

  await harm();

  await everyNode(200, "ok", HEALED_MS);
  const hears = (ear: Ear, { stream }: Flow, least: number) =>
    ear.heard
      .slice(from[ears.indexOf(ear)])
      .some((heard) => heard.namespace === stream.namespace && (stream.numberOf(heard) ?? -1) >= least);
  for (const flow of flows) {
    // What was written while nobody heard a feed is lost and told; what is written from here on is not.
    const { count } = flow;
    await allHear(ears, `${flow.name} to flow again`, (ear) => hears(ear, flow, count), HEALED_MS);
    const last = await flow.end();
    await allHear(ears, `everybody to hear the last of ${flow.name}`, (ear) => hears(ear, flow, last), HEALED_MS);
  }
  for (const [index, ear] of ears.entries()) {
    for (const { stream, written } of flows)
      expectWholeOrTold(ear, stream, written, { ...options, from: from[index]! });
    expectLogOrder(ear);
    expect(ear.disconnects).toEqual([]);
  }
  expect(stage.nodes.map(({ pid, running }) => running && pid)).toEqual(pids);
}

interface Flow {
  readonly name: string;
  readonly stream: Stream;
  /** The numbers whose publisher was told that they are published, with when it began. */
  readonly written: ReadonlyMap<number, number>;
  readonly count: number;
  /** Resolves with the last number, which is written for certain. */
  end(): Promise<number>;
}

/** A publisher that goes on with the next number when one failed; each number once. */
function startFlow(name: string, stream: Stream, write: (n: number) => Promise<unknown>): Flow {
  const written = new Map<number, number>();
  let count = 0;
  let ending = false;
  const run = async (): Promise<number> => {
    for (;;) {
      const n = count++;
      const last = ending;
      try {
        const begunAt = performance.now();
        await write(n);
        written.set(n, begunAt);
        if (last) return n;
      } catch {
        // Nobody knows whether it is published, so it may be missing.
      }
      await sleep(1000 / PER_S);
    }
  };
  const done = run();
  return {
    name,
    stream,
    written,
    get count() {
      return count;
    },
    end() {
      ending = true;
      return done;
    },
  };
}

function startFlows(): Flow[] {
  const now = run;
  const scopes = `N${now}`;
  const { databaseUrl } = stage;
  const publisher = redis.client({
    enableOfflineQueue: false,
    autoResendUnfulfilledCommands: false,
    maxRetriesPerRequest: 0,
  });
  const ours = (channel: string): Stream => {
    const all = messagesOn(channel);
    return { ...all, numberOf: (heard) => (heard.argument.payload?.run === now ? all.numberOf(heard) : undefined) };
  };
  const json = (n: number) => JSON.stringify({ run: now, n });
  return [
    startFlow("REST", ours("chat"), async (n) => {
      // As a publisher does that wants to be sure: again with the same key until it is answered.
      await waitFor(
        () => post(stage.url, "/api/notifications/chat", { run: now, n }, { "idempotency-key": `${now}.${n}` }),
        {
          what: "a 202",
          timeoutMs: HEALED_MS,
          everyMs: 200,
        },
      );
    }),
    startFlow("the outbox", ours("work"), (n) =>
      within(1000, queryAt(databaseUrl, "select carillon.publish('work', $1)", [json(n)])),
    ),
    startFlow("NOTIFY", ours("system"), (n) =>
      within(1000, queryAt(databaseUrl, "select pg_notify('system', $1)", [json(n)])),
    ),
    startFlow("PUBLISH", refreshesOf("trips", scopes), (n) =>
      within(1000, publisher.publish("refresh.trips", `${scopes}.${n}`)),
    ),
  ];
}

/** What a lost connection left open is neither done nor not done. */
function within<T>(ms: number, work: Promise<T>): Promise<T> {
  return Promise.race([work, sleep(ms).then(() => Promise.reject(new Error("no answer")))]);
}

async function everyNode(status: number, word: "ok" | "degraded" | "down", timeoutMs: number): Promise<void> {
  let last: unknown[] = [];
  await waitFor(
    async () => {
      const answers = await Promise.all(stage.nodes.map((node) => node.readyz()));
      last = answers.map((answer) => [answer.status, answer.body]);
      return answers.every((answer) => answer.status === status && (status === 503 || answer.body.status === word));
    },
    { what: `every node to be ${word}`, timeoutMs, everyMs: 50 },
  ).catch((error: Error) => {
    throw new Error(`${error.message}; they said ${JSON.stringify(last)}`);
  });
}
