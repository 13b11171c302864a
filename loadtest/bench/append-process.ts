/** Appends for some seconds in one way, and tells its parent how many a second that were. */
import { connectRedis, RedisLog } from "@carillon/redis";

const [url = "", way = "", seconds = "5"] = process.argv.slice(2);
const connections = connectRedis({ url, prefix: "bench" });
const log = new RedisLog(connections, { retentionS: 3600, maxEntries: 100_000 });
const request = { draft: { channel: "bench", payload: '{"hello":"world","n":42}' as never } };

const began = performance.now();
const until = began + Number(seconds) * 1000;
let appended = 0;
const worker = async (size: number) => {
  while (performance.now() < until) {
    const { length } = await log.append(Array.from({ length: size }, () => request));
    appended += length;
  }
};
if (way.startsWith("batches")) await Promise.all([worker(100), worker(100)]);
else await Promise.all(Array.from({ length: way.includes("64") ? 64 : 1 }, () => worker(1)));
process.send?.(appended / ((performance.now() - began) / 1000));
connections.close();
process.exit(0);
