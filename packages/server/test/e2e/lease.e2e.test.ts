/**
 * Whoever carries a feed is killed, frozen and cut off while 200 a second are written: what is durable arrives once and in order at
 * every client, and of a lossy feed whatever is missing is told (guarantees 1, 2 and 5).
 *
 * Two bridges at once, as when a lease fails, need a bridge wired by the test itself: packages/postgres/test/bridge.postgres.test.ts.
 */
import {
  type NodeServer,
  type PostgresServer,
  queryAt,
  type RedisServer,
  startPostgres,
  startRedis,
} from "@carillon/testkit";
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from "vitest";
import { allHear, type Ear, expectLogOrder, openEar } from "./support/ear.ts";
import { holderOf, openStage, type Stage } from "./support/stage.ts";
import { expectWholeOrTold, isThrough, messagesOn, refreshesOf, type Stream } from "./support/whole.ts";
import { startWriter, type Writer } from "./support/writer.ts";

const NODES = 3;
const COUNT = 2000;
const PER_S = 200;

let redis: RedisServer;
let postgres: PostgresServer;
let stage: Stage;
let ears: Ear[] = [];

beforeAll(async () => {
  [redis, postgres] = await Promise.all([startRedis({ appendonly: "always" }), startPostgres()]);
  stage = await openStage({ nodes: NODES, redis, postgres });
});
afterAll(async () => {
  await stage?.stop();
  await Promise.all([redis?.stop(), postgres?.stop()]);
});

/** On each node a polling client that stays with it, and as many on websockets that go wherever nginx sends them. */
beforeEach(async () => {
  const channels = ["system", "work"];
  ears = await Promise.all(
    Array.from({ length: NODES }, (_, node) => [
      openEar(stage.url, { name: `polling at ${node}`, transport: "polling", query: { node: `${node}` }, channels }),
      openEar(stage.url, {
        name: `websocket ${node}`,
        transport: "websocket",
        query: { client: `w${node}` },
        channels,
      }),
    ]).flat(),
  );
});
afterEach(() => {
  for (const ear of ears) ear.close();
});

test("the outbox: everything once and in order", async () => {
  const work = messagesOn("work");
  const write = (n: number) => stage.query("select carillon.publish('work', to_jsonb($1::int))", [n]);

  const writer = startWriter(PER_S, write);
  const count = await hurt("bridge", writer, terminateBridge);

  await allHear(ears, "everybody to hear the last", (ear) => ear.payloads("work").at(-1) === count - 1, 30_000);
  for (const ear of ears) {
    expect(expectWholeOrTold(ear, work, writer.written).missing, ear.name).toBe(0);
    expectLogOrder(ear);
  }
});

test("NOTIFY: once and in order, or the gap is told", async () => {
  const write = (n: number) => stage.query("select pg_notify('system', $1)", [`${n}`]);

  const writer = startWriter(PER_S, write);
  const count = await hurt("bridge", writer, terminateBridge);

  await expectTold(messagesOn("system"), writer, () => write(count));
});

test("PUBLISH in Redis: once and in order, or the gap is told", async () => {
  const write = (n: number) => stage.publish("refresh.trips", JSON.stringify({ scope: `N.${n}` }));

  const writer = startWriter(PER_S, write);
  const count = await hurt("redis-ingress", writer, disconnectFeeds);

  await expectTold(refreshesOf("trips", "N"), writer, () => write(count));
});

/** Kills the holder of the lease, freezes the next until another took over, and ends the connection of the one after. */
async function hurt(
  lease: "bridge" | "redis-ingress",
  writer: Writer,
  disconnect: (holder: NodeServer) => Promise<void>,
): Promise<number> {
  await writer.reached(COUNT * 0.25);
  const killed = await holderOf(stage.nodes, lease);
  await killed.kill();
  const restarted = killed.start();

  await writer.reached(COUNT * 0.5);
  await restarted;
  const frozen = await holderOf(stage.nodes, lease);
  frozen.freeze();
  const others = stage.nodes.filter((node) => node !== frozen);
  await holderOf(others, lease);
  frozen.thaw();

  await writer.reached(COUNT * 0.75);
  await disconnect(await holderOf(others, lease));
  await holderOf(stage.nodes, lease);
  return writer.end(Math.max(COUNT, writer.count + PER_S));
}

/** The connection that holds the lock of the lease. */
async function terminateBridge(): Promise<void> {
  const rows = await queryAt(
    stage.databaseUrl,
    `select pg_terminate_backend(l.pid) as done from pg_locks l join pg_stat_activity a on a.pid = l.pid
     where l.locktype = 'advisory' and l.granted and a.application_name = 'carillon-bridge' and a.datname = current_database()
       and l.objid = 4`,
  );
  expect(rows).toEqual([{ done: true }]);
}

/** Of all nodes at once: then nobody hears for a moment. */
async function disconnectFeeds(): Promise<void> {
  const client = redis.client();
  try {
    const list = String(await client.call("CLIENT", "LIST"));
    const feeds = list.split("\n").filter((line) => line.includes(":feed "));
    expect(feeds).toHaveLength(NODES);
    for (const feed of feeds) await client.call("CLIENT", "KILL", "ID", /^id=(\d+)/.exec(feed)![1]!);
  } finally {
    client.disconnect();
  }
}

async function expectTold(
  stream: Stream,
  { count, written }: Writer,
  writeLast: () => Promise<unknown>,
): Promise<void> {
  // One more, after everything has calmed down: whoever missed the last ones must be told before it.
  await Promise.all(["bridge" as const, "redis-ingress" as const].map((lease) => holderOf(stage.nodes, lease)));
  const all = new Map([...written, [count, performance.now()]]);
  await writeLast();
  await allHear(ears, "everybody to hear the last, or of a gap", (ear) => isThrough(ear, stream, count), 30_000);
  for (const ear of ears) {
    const { missing, gaps } = expectWholeOrTold(ear, stream, all);
    expect(missing, `${ear.name} missed ${missing} of ${count} in ${gaps} gaps`).toBeLessThan(count / 2);
    expectLogOrder(ear);
  }
}
