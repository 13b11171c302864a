/**
 * A node is killed with SIGKILL between any two steps of publishing. What was answered 202 is delivered, a retry with the same key
 * publishes nothing twice, and what a bridge was carrying arrives once (guarantees 1, 2 and 5).
 *
 * A tap between the victim and Redis stops it where the test wants: at the request that carries a publication, or at its answer.
 */
import { setTimeout as sleep } from "node:timers/promises";
import {
  api,
  freePort,
  NodeServer,
  type PostgresServer,
  type RedisServer,
  startPostgres,
  startRedis,
  waitFor,
} from "@carillon/testkit";
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from "vitest";
import { allHear, type Ear, expectLogOrder, openEar, openEars } from "./support/ear.ts";
import { type RedisTap, startRedisTap } from "./support/redis-tap.ts";
import { accepted, holderOf, openStage, post, type Stage } from "./support/stage.ts";

let redis: RedisServer;
let postgres: PostgresServer;
let tap: RedisTap;
/** Two gateways, which live through everything. */
let stage: Stage;
/** A third, behind the tap. */
let victim: NodeServer;
/** Carries what comes by Redis and Postgres; another, behind the tap, joins it in the last tests. */
let bridge: NodeServer;
let env: Record<string, string>;
let ears: Ear[] = [];
let mark = "";
let tests = 0;
let fences = 0;

beforeAll(async () => {
  [redis, postgres] = await Promise.all([startRedis({ appendonly: "always" }), startPostgres()]);
  tap = await startRedisTap(redis.port);
  stage = await openStage({ nodes: 2, redis, postgres, env: { ROLES: "gateway" } });
  env = { DATABASE_URL: stage.databaseUrl, REDIS_PREFIX: new URL(stage.databaseUrl).pathname.slice(1) };
  victim = new NodeServer({ ...env, ROLES: "gateway", REDIS_URL: tap.url, PORT: `${await freePort()}` });
  bridge = new NodeServer({ ...env, ROLES: "bridge", REDIS_URL: redis.url });
  await Promise.all([victim.start(), bridge.start()]);
  const channels = ["chat"];
  const atVictim = { name: "at the victim", transport: "websocket", channels } as const;
  ears = [...(await openEars(stage.url, 2, { channels })), await openEar(victim.url, atVictim)];
});
afterAll(async () => {
  for (const ear of ears) ear.close();
  await Promise.all([victim?.stop(), bridge?.stop()]);
  await stage?.stop();
  tap?.close();
  await Promise.all([redis?.stop(), postgres?.stop()]);
});
beforeEach(() => {
  mark = `CRASH.${tests++}.`; // ends in a dot: 1 is not within 11
});
afterEach(async () => {
  tap.release();
  if (!victim.running) await victim.start();
});

const key = () => ({ "idempotency-key": `key of ${mark}`.replaceAll(" ", "-") });

/** Every way to publish by REST: what is sent, and what is to be heard of it. */
const WAYS = {
  "a message": {
    path: "/api/notifications/chat",
    body: () => ({ mark, n: 0 }),
    heard: (ear: Ear) => ours(ear).map(({ n }) => n),
    wanted: [0],
  },
  "a refresh": {
    path: "/api/refresh/trips",
    body: () => ({ scope: mark }),
    heard: (ear: Ear) => ear.scopes("/trips").filter((scope) => scope === mark),
    get wanted() {
      return [mark];
    },
  },
  "a batch": {
    path: "/api/publications",
    body: () => ({ publications: Array.from({ length: 700 }, (_, n) => ({ channel: "chat", payload: { mark, n } })) }),
    heard: (ear: Ear) => ours(ear).map(({ n }) => n),
    wanted: Array.from({ length: 700 }, (_, n) => n),
  },
};

// biome-ignore lint/suspicious/noExplicitAny: a test says what it expects
const ours = (ear: Ear): any[] => ear.payloads("chat").filter((payload) => payload.mark === mark);

/** Sent to the victim, which may die over it. */
async function attempt(path: string, body: unknown): Promise<number | undefined> {
  try {
    return (await api(victim.url).post(path, body, key())).status;
  } catch {
    return undefined;
  }
}

async function expectHeardOnce(heard: (ear: Ear) => unknown[], wanted: unknown[]): Promise<void> {
  const fence = `${mark}fence.${fences++}`;
  await allHear(ears, "everybody to hear it", (ear) => heard(ear).length >= wanted.length, 30_000);
  await post(stage.url, "/api/publications", {
    publications: [
      { channel: "trips", scope: fence },
      { channel: "chat", payload: fence },
    ],
  });
  await allHear(
    ears,
    "everybody to hear the fence",
    (ear) => ear.scopes("/trips").includes(fence) && ear.payloads("chat").includes(fence),
  );
  for (const ear of ears) {
    expect(heard(ear), ear.name).toEqual(wanted);
    expectLogOrder(ear);
  }
}

/** Where the victim is stopped, and a text in the request to Redis at which that is. */
const STEPS: [way: keyof typeof WAYS, when: string, hold: (tap: RedisTap) => Promise<void>][] = [
  ["a message", "before Redis has it", ({ holdRequest }) => holdRequest(mark)],
  ["a message", "when Redis has it and the node has no answer", ({ holdAnswer }) => holdAnswer(mark)],
  ["a refresh", "when Redis has it and the node has no answer", ({ holdAnswer }) => holdAnswer(mark)],
  ["a batch", "between its first and the others", ({ holdRequest }) => holdRequest(`${mark}","n":1}`)],
  ["a batch", "in the middle", ({ holdRequest }) => holdRequest(`${mark}","n":650}`)],
  ["a batch", "when Redis has the last", ({ holdAnswer }) => holdAnswer(`${mark}","n":699}`)],
];

test.each(STEPS)(
  "%s, killed %s: a retry at another node with the same key publishes it once",
  async (way, _when, hold) => {
    const { path, body, heard, wanted } = WAYS[way];
    const stopped = hold(tap);
    const answer = attempt(path, body());
    await stopped;
    await victim.kill();
    expect(await answer).toBeUndefined();

    const first = await post(stage.url, path, body(), key());
    const again = await post(stage.url, path, body(), key());

    expect(again.body).toEqual(first.body);
    await victim.start();
    await expectHeardOnce(heard, wanted);
  },
);

test("a request that reaches Redis after its node died, and after the retry, publishes nothing more", async () => {
  const stopped = tap.holdRequest(mark);
  const answer = attempt("/api/notifications/chat", { mark, n: 0 });
  await stopped;
  await victim.kill();
  await answer;
  await post(stage.url, "/api/notifications/chat", { mark, n: 0 }, key());

  tap.release();

  await victim.start();
  await expectHeardOnce(ours, [{ mark, n: 0 }]);
});

test.each(Object.keys(WAYS) as (keyof typeof WAYS)[])(
  "%s that was answered 202 is delivered, and its retry answers the same",
  async (way) => {
    const { path, body } = WAYS[way];
    const answer = accepted(await api(victim.url).post(path, body(), key()));
    await victim.kill();

    expect((await post(stage.url, path, body(), key())).body).toEqual(answer.body);

    await victim.start();
    await expectHeardOnce(WAYS[way].heard, WAYS[way].wanted);
  },
);

test("what a client published and was acked for is delivered", async () => {
  await ears.at(-1)!.ask("/channels", "publish", { channel: "chat", payload: { mark, n: 0 } });
  await victim.kill();
  await victim.start();

  await expectHeardOnce(ours, [{ mark, n: 0 }]);
});

test("killed at any moment: every publication that its publisher retries until it is answered is published once", async () => {
  const publishers = 12;
  let done = 0;
  let over = false;
  const acked: string[] = [];
  const publishing = Array.from({ length: publishers }, async (_, publisher) => {
    for (let n = 0; !over; n++) {
      const id = `${publisher}.${n}`;
      // At the victim first, then wherever nginx sends it.
      await waitFor(
        async () => {
          const headers = { "idempotency-key": mark + id };
          const url = victim.running ? victim.url : stage.url;
          accepted(await api(url).post("/api/notifications/chat", { mark, id }, headers));
          return true;
        },
        { what: "a 202", timeoutMs: 20_000 },
      );
      acked.push(id);
      done++;
    }
  });
  for (const afterMs of [40, 130, 260, 410]) {
    const from = done;
    await waitFor(() => done > from + 20, { what: "publications to go on" });
    await sleep(afterMs); // not a wait for anything: where in its work the node dies is left to chance
    await victim.kill();
    await victim.start();
  }
  over = true;
  await Promise.all(publishing);

  await allHear(ears, "everybody to hear all", (ear) => ours(ear).length >= acked.length, 30_000);
  for (const ear of ears) {
    expect(
      ours(ear)
        .map(({ id }) => id)
        .toSorted(),
      ear.name,
    ).toEqual(acked.toSorted());
    expectLogOrder(ear);
  }
});

/** The log has one call in flight at a time: what stops the first of the three stops all of them. */
test.each(["holdRequest", "holdAnswer"] as const)(
  "what a bridge carries of the outbox, NOTIFY and Redis, killed at its append (%s): the next one publishes it once",
  async (hold) => {
    const carrier = new NodeServer({ ...env, ROLES: "bridge", REDIS_URL: tap.url });
    await carrier.start();
    await bridge.stop();
    await Promise.all([holderOf([carrier], "bridge"), holderOf([carrier], "redis-ingress")]);
    await bridge.start();
    // As the append has it, and not the message that Redis hands to the node.
    const stopped = tap[hold](`"${mark}"`);

    await stage.sql.query("select carillon.publish('chat', $1)", [JSON.stringify({ mark, n: 0 })]);
    await stage.sql.query("select pg_notify('chat', $1)", [JSON.stringify({ mark, n: 1 })]);
    await stage.publish("refresh.trips", mark);
    await stopped;
    await carrier.kill();

    await Promise.all([holderOf([bridge], "bridge"), holderOf([bridge], "redis-ingress")]);
    await expectHeardOnce(WAYS["a refresh"].heard, [mark]);
    await expectHeardOnce(
      (ear) =>
        ours(ear)
          .map(({ n }) => n)
          .sort(),
      [0, 1],
    );
  },
);
