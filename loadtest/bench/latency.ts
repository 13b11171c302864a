import { noLogger } from "@carillon/core";
import { migrate } from "@carillon/postgres";
import { connect, NodeServer, queryAt, startPostgres, startRedis } from "@carillon/testkit";
import pg from "pg";
import type { Bench } from "./bench.ts";
import { quantile } from "./table.ts";

const PER_SECOND = 100;

/** From the moment a commit returned to the moment a client has the event: outbox, bridge, Redis, node, WebSocket, on one machine. */
export const latency: Bench = {
  name: "latency",
  about: `commit to client at ${PER_SECOND} commits a second (--seconds 40 for the figure of the README)`,
  async run({ seconds, progress }) {
    const [postgres, redis] = await Promise.all([startPostgres({ fsync: true }), startRedis()]);
    const milliseconds: number[] = [];
    try {
      const url = await postgres.createDatabase();
      await migrate(url, { logger: noLogger });
      await queryAt(url, "create table watched (id bigint primary key, note text)");
      await queryAt(url, "select carillon.watch('watched', 'bench')");
      const node = new NodeServer({ DATABASE_URL: url, REDIS_URL: redis.url });
      await node.start();
      const committedAt = new Map<string, number>();
      const client = await connect(node.url, "/channels", { transports: ["websocket"] });
      await client.ready;
      await client.ask("subscribe", { channel: "bench" });
      client.socket.on("notification", ({ payload }: { payload: { key: string } }) => {
        const at = committedAt.get(payload.key);
        if (at !== undefined) milliseconds.push(performance.now() - at);
        committedAt.delete(payload.key);
      });
      const writer = new pg.Client(url);
      await writer.connect();
      const began = performance.now();
      for (let i = 1; performance.now() - began < seconds * 1000; i++) {
        // Counted from before the event can arrive: the commit may be published before its answer is read here.
        committedAt.set(String(i), performance.now());
        await writer.query("insert into watched values ($1, 'hello')", [i]);
        const waitMs = began + (i * 1000) / PER_SECOND - performance.now();
        if (waitMs > 0) await new Promise((resolve) => setTimeout(resolve, waitMs));
        if (i % (PER_SECOND * 10) === 0) progress(`${i} commits`);
      }
      await new Promise((resolve) => setTimeout(resolve, 1000));
      if (committedAt.size > 0) throw new Error(`${committedAt.size} commits never arrived`);
      await writer.end();
      client.close();
      await node.stop();
    } finally {
      await Promise.all([postgres.stop(), redis.stop()]);
    }
    const row = [0.5, 0.9, 0.99, 1].map((q) => `${quantile(milliseconds, q).toFixed(1)} ms`);
    return [
      {
        title: `latency: insert sent to client, ${milliseconds.length} commits`,
        columns: ["", "p50", "p90", "p99", "max"],
        rows: [["insert to client", ...row]],
      },
    ];
  },
};
