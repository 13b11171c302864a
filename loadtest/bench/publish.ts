import { noLogger } from "@carillon/core";
import { migrate } from "@carillon/postgres";
import { api, NodeServer, queryAt, startPostgres, startRedis, waitFor } from "@carillon/testkit";
import { Redis } from "ioredis";
import type { Bench } from "./bench.ts";
import { product, publish as publishTo, type Subject } from "./subjects.ts";
import { spread, type Table } from "./table.ts";

const AT_ONCE = 64;
const BATCH = 100;
const BACKLOG = 100_000;

/** How many publications a second one node takes in, each way; all of them end in the log. */
export const publish: Bench = {
  name: "publish",
  about: `publications a second into one node: REST, Redis, and the outbox' backlog of ${BACKLOG} rows`,
  async run({ rounds, seconds, progress }) {
    const redis = await startRedis();
    const rates = new Map<string, number[]>();
    const note = (way: string, rate: number) => {
      rates.set(way, [...(rates.get(way) ?? []), rate]);
      progress(`${way}: ${Math.round(rate)}/s`);
    };
    try {
      for (let round = 1; round <= rounds; round++) {
        progress(`round ${round} of ${rounds}`);
        const subject = await product(redis.url);
        note("REST, single", await byRest(subject, 1, seconds));
        note(`REST, batches of ${BATCH}`, await byRest(subject, BATCH, seconds));
        note("Redis channel", await byRedis(subject, redis.url));
        await subject.stop();
        note("outbox", await fromOutbox(redis.url));
      }
    } finally {
      await redis.stop();
    }
    return [table(rates)];
  },
};

async function byRest(subject: Subject, batch: number, seconds: number): Promise<number> {
  const until = performance.now() + seconds * 1000;
  let published = 0;
  const worker = async () => {
    while (performance.now() < until) {
      await publishTo(subject, "bench", { hello: "world", n: 42 }, batch);
      published += batch;
    }
  };
  const began = performance.now();
  await Promise.all(Array.from({ length: batch === 1 ? AT_ONCE : 4 }, worker));
  return published / ((performance.now() - began) / 1000);
}

/** Payloads, so that nothing is merged. */
async function byRedis({ url }: Subject, redisUrl: string): Promise<number> {
  const count = 20_000;
  const before = await headOf(url);
  const redis = new Redis(redisUrl);
  const began = performance.now();
  for (let sent = 0; sent < count; sent += 500) {
    const pipeline = redis.pipeline();
    for (let i = 0; i < 500; i++) pipeline.publish("refresh.trips", `{"scope":"BENCH","payload":${sent + i}}`);
    await pipeline.exec();
  }
  await waitFor(async () => (await headOf(url)) - before >= count, {
    what: "all in the log",
    timeoutMs: 120_000,
    everyMs: 50,
  });
  const seconds = (performance.now() - began) / 1000;
  redis.disconnect();
  return count / seconds;
}

/** A backlog, as after an hour without a bridge: from its first row in the log to its last. */
async function fromOutbox(redisUrl: string): Promise<number> {
  const postgres = await startPostgres({ fsync: true });
  try {
    const url = await postgres.createDatabase();
    await migrate(url, { logger: noLogger });
    await queryAt(
      url,
      `select carillon.publish('bench', jsonb_build_object('n', n)) from generate_series(1, ${BACKLOG}) n`,
    );
    const node = new NodeServer({
      DATABASE_URL: url,
      REDIS_URL: redisUrl,
      REDIS_PREFIX: `outbox-${Date.now()}`,
      LOG_MAX_ENTRIES: `${2 * BACKLOG}`,
    });
    await node.start();
    await waitFor(async () => (await node.metric("carillon_outbox_published_total")) >= BACKLOG, {
      what: "all rows",
      timeoutMs: 120_000,
    });
    const timeOf = async (query: string) => {
      const { body } = await api(node.url).get(`/api/channels/bench/publications?limit=1${query}`);
      return Date.parse(body.publications[0].timestamp);
    };
    // By the log's own times: most of it may be over by the time that a starting node answers.
    const rate = (BACKLOG / ((await timeOf("")) - (await timeOf("&since=0-0")))) * 1000;
    await node.stop();
    return rate;
  } finally {
    await postgres.stop();
  }
}

async function headOf(url: string): Promise<number> {
  const { body } = await api(url).get("/api/channels/trips/publications?limit=1");
  return Number(String(body.id).split("-")[1]);
}

function table(rates: ReadonlyMap<string, readonly number[]>): Table {
  return {
    title: "publish: publications a second into one node, median (range)",
    columns: ["way", "publications/s"],
    rows: [...rates].map(([way, list]) => [way, spread(list, 0)]),
  };
}
