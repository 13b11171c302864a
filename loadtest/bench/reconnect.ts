import { type ChildProcess, fork } from "node:child_process";
import { fileURLToPath } from "node:url";
import { api, NodeServer, startRedis, waitFor } from "@carillon/testkit";
import type { Bench } from "./bench.ts";

const CLIENTS = 10_000;
const PROCESSES = 2;
const PUBLICATIONS_PER_S = 20;
const program = fileURLToPath(new URL("./returning-process.ts", import.meta.url));

interface Report {
  readonly wholeAgain: number;
  readonly gaps: number;
  readonly attempts: number;
}

/** All clients of a node that is killed come back to one other, at the pace that it admits them. */
export const reconnect: Bench = {
  name: "reconnect",
  about: `${CLIENTS} clients come back to one other node after theirs was killed`,
  async run({ progress }) {
    const redis = await startRedis();
    const env = { REDIS_URL: redis.url, MAX_CONNECTIONS: "100000" };
    const dies = new NodeServer({ ...env, CONNECTS_PER_S: "100000" });
    const survives = new NodeServer(env); // with the pace that is the default
    const crowds: ChildProcess[] = [];
    try {
      await Promise.all([dies.start(), survives.start()]);
      const reports = new Map<ChildProcess, Report>();
      const total = (of: (report: Report) => number) =>
        [...reports.values()].reduce((sum, report) => sum + of(report), 0);
      await Promise.all(
        Array.from({ length: PROCESSES }, () => {
          const child = fork(program);
          crowds.push(child);
          child.on("message", (message: Report | { connected: number }) => {
            if ("attempts" in message) reports.set(child, message);
          });
          child.send({ cmd: "connect", url: dies.url, next: survives.url, count: CLIENTS / PROCESSES });
          return new Promise<void>((resolve) =>
            child.on("message", (message: object) => {
              if ("connected" in message) resolve();
            }),
          );
        }),
      );
      progress(`${CLIENTS} clients are connected`);
      const publisher = setInterval(
        // What a busy node does not take in time is not published: nobody waits for a certain number.
        () =>
          void api(survives.url)
            .post("/api/refresh/trips", { scope: "BENCH", payload: 1 })
            .catch(() => {}),
        1000 / PUBLICATIONS_PER_S,
      );
      const readsBefore = await survives.metric("carillon_log_reads_total");
      await survives.metrics(); // the delay of the event loop is measured anew from each look
      const began = performance.now();
      await dies.kill();
      let worstDelayMs = 0;
      await waitFor(
        async () => {
          const delay = await survives.metric("nodejs_eventloop_lag_p99_seconds").catch(() => 0);
          worstDelayMs = Math.max(worstDelayMs, delay * 1000);
          return total(({ wholeAgain }) => wholeAgain) >= CLIENTS;
        },
        {
          what: "everybody to be back",
          timeoutMs: 180_000,
          everyMs: 5000,
        },
      );
      const seconds = (performance.now() - began) / 1000;
      clearInterval(publisher);
      const reads = (await survives.metric("carillon_log_reads_total")) - readsBefore;
      return [
        {
          title: `reconnect: ${CLIENTS} clients of a killed node come back to one other, ${PUBLICATIONS_PER_S} publications/s meanwhile`,
          columns: ["back after", "whole", "told a gap", "attempts refused", "reads of the log", "event loop p99"],
          rows: [
            [
              `${seconds.toFixed(0)} s`,
              total(({ wholeAgain }) => wholeAgain),
              total(({ gaps }) => gaps),
              total(({ attempts }) => attempts) - CLIENTS,
              reads,
              `${worstDelayMs.toFixed(0)} ms`,
            ],
          ],
        },
      ];
    } finally {
      for (const child of crowds) child.kill();
      await Promise.all([dies.stop(), survives.stop()]);
      await redis.stop();
    }
  },
};
