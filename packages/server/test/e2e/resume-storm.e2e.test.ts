/** Many come back at once after a node's death: the log is read a few times for all of them, and everybody is whole. */
import { type NodeServer, startNode, startRedis, waitFor } from "@carillon/testkit";
import { expect, test } from "vitest";
import { batch, Raw } from "./kit.ts";

/** 5,000 by hand: `STORM=5000`. */
const COUNT = Number(process.env.STORM ?? 1000);

test.each([
  ["out of the node's memory", "10000", 4],
  // Shorter than what was missed. What asks at one time shares a pass over the log.
  ["out of the log", "16", 50],
])(
  `${COUNT} connections resume at once %s with few reads of the log`,
  { timeout: 180_000 },
  async (_where, ring, maxReads) => {
    const redis = await startRedis();
    const env = {
      REDIS_URL: redis.url,
      COALESCE_MS: "0",
      ROLES: "gateway",
      CONNECTS_PER_S: "100000",
      RING_MAX_ENTRIES: ring,
    };
    const [dies, survives] = (await Promise.all([startNode(env), startNode(env)])) as [NodeServer, NodeServer];
    const sessions: { pid: string; offset: string }[] = [];
    await inGroups(COUNT, 100, async () => {
      const raw = await Raw.open(dies.url);
      raw.send("40/trips,");
      const { pid } = JSON.parse((await raw.next("40/trips,")).slice("40/trips,".length));
      const ready = await raw.next('42/trips,["ready"');
      sessions.push({ pid, offset: JSON.parse(ready.slice("42/trips,".length))[2] });
    });
    await dies.kill();
    const missed = await batch(
      survives.url,
      Array.from({ length: 200 }, (_, n) => ({ channel: "trips", scope: `S_${n % 20}` })),
    );
    const readsBefore = await survives.metric("carillon_log_reads_total");
    const startedAt = performance.now();

    const back = await Promise.all(sessions.map((session) => resume(survives.url, session)));

    const tookMs = performance.now() - startedAt;
    const reads = (await survives.metric("carillon_log_reads_total")) - readsBefore;
    for (const { raw, ready } of back) {
      expect(ready).toContain('"recovered":true');
      await waitFor(() => raw.frames.filter((frame) => frame.startsWith('42/trips,["refresh"')).length === 20, {
        what: "the merged refreshes",
      });
      expect(raw.frames.filter((frame) => frame.startsWith('42/trips,["refresh"')).at(-1)).toContain(missed.at(-1));
      raw.close();
    }
    console.log(`${COUNT} connections whole in ${Math.round(tookMs)} ms with ${reads} reads of the log`);
    expect(reads).toBeLessThanOrEqual(maxReads);
    await survives.stop();
    await redis.stop();
  },
);

/** Comes back again when the node, which has no time for it, refuses or closes the transport: as stock clients do. */
async function resume(url: string, session: object): Promise<{ raw: Raw; ready: string }> {
  for (;;) {
    const raw = await Raw.open(url).catch(() => undefined);
    if (raw === undefined) {
      await new Promise((resolve) => setTimeout(resolve, 200 + 800 * Math.random()));
      continue;
    }
    raw.send(`40/trips,${JSON.stringify(session)}`);
    const isReady = (frame: string) => frame.startsWith('42/trips,["ready"');
    await waitFor(() => raw.closed || raw.frames.some(isReady), {
      what: "ready, or the end",
      timeoutMs: 120_000,
      everyMs: 50,
    });
    const ready = raw.frames.find(isReady);
    if (ready !== undefined) return { raw, ready };
  }
}

async function inGroups(count: number, size: number, work: () => Promise<void>): Promise<void> {
  for (let done = 0; done < count; done += size)
    await Promise.all(Array.from({ length: Math.min(size, count - done) }, work));
}
