import { startNode, startRedis } from "@carillon/testkit";
import { test } from "vitest";
import { batch, Raw } from "./kit.ts";
const KB = "x".repeat(1000);
test("x", { timeout: 100_000 }, async () => {
  const redis = await startRedis();
  const node = await startNode({ REDIS_URL: redis.url, COALESCE_MS: "0", ROLES: "gateway", HIGH_WATER_BYTES: "65536", RING_MAX_ENTRIES: "1000" });
  const raws = await Promise.all([1,2].map(async () => { const raw = await Raw.open(node.url);
    raw.send("40/channels,"); await raw.next('42/channels,["ready"');
    raw.send('42/channels,1["subscribe",{"channel":"big"}]'); await raw.next("43/channels,1"); return raw; }));
  raws[0]!.socket.pause();
  for (let n = 0; n < 6; n++) {
    const t = performance.now();
    await batch(node.url, Array.from({ length: 1000 }, () => ({ channel: "big", payload: KB.repeat(3) })), 100);
    const t2 = performance.now();
    await new Promise((r) => setTimeout(r, 1200));
    const m = await node.metrics();
    console.log(n, Math.round(t2 - t), raws.map((r) => `${r.frames.length} ${r.closed}`).join(" "), m.split("\n").filter((l) => /^carillon_(position|slow|deliveries|repair|duplicates|gaps|log_reads|transports|bus_hearing|connections)/.test(l) && !l.endsWith(" 0")).join(" | "));
  }
  console.log(node.logs.slice(5).map((l) => JSON.stringify(l)).join("\n").slice(0, 3000));
  for (const r of raws) r.close();
  await node.stop(); await redis.stop();
});
