import { connect, freePort, type Inspector, inspect, NodeServer, startRedis, waitFor } from "@carillon/testkit";
import { SECRET, tokenFor, VISITS } from "./clients.ts";

export interface ChurnOptions {
  readonly seconds: number;
  /** At a time. */
  readonly clients: number;
  /** After each, everybody leaves and the heap is measured; the first two warm up. */
  readonly rounds: number;
  readonly say: (line: string) => void;
}

interface Measure {
  readonly heapBytes: number;
  readonly listeners: number;
}

const USERS = 50;
const WARM_UP = 2;
/** Of the heap between the first measured round and the last: what caches and compiled code may still take. */
const MAX_GROWTH_BYTES = 4 * 1024 * 1024;
const MIB = 1024 * 1024;

/** Resolves with what is wrong. */
export async function churn({ seconds, clients, rounds, say }: ChurnOptions): Promise<string[]> {
  const redis = await startRedis();
  const port = await freePort();
  const node = new NodeServer({
    AUTH: "on",
    JWT_SECRET: SECRET,
    API_KEYS: "ops:ops-secret:operate",
    REDIS_URL: redis.url,
    NODE_OPTIONS: `--inspect=127.0.0.1:${port}`,
    MAX_CONNECTIONS_PER_USER: "10000",
    CONNECTS_PER_S: "100000",
    PUBLISHES_PER_USER_PER_S: "100000",
    MESSAGES_PER_S: "50",
    CONNECT_TIMEOUT_MS: "1000",
    RING_MAX_ENTRIES: "500",
    LOG_MAX_ENTRIES: "1000",
    LOG_LEVEL: "info",
    PORT: `${await freePort()}`,
  });
  const faults: string[] = [];
  let inspector: Inspector | undefined;
  try {
    await node.start();
    inspector = await inspect(port);
    const measures: Measure[] = [];
    const visits: Record<string, number> = {};
    for (let round = 1; round <= rounds; round++) {
      await crowd(node.url, clients, (seconds * 1000) / rounds, visits);
      await waitFor(
        async () =>
          /^carillon_transports\{transport="websocket"\} 0$/m.test(await metrics(node)) &&
          /^carillon_transports\{transport="polling"\} 0$/m.test(await metrics(node)),
        { what: "everybody to be gone", timeoutMs: 60_000, everyMs: 500 },
      );
      const measure = { heapBytes: await inspector.heapBytes(), listeners: await inspector.listeners() };
      measures.push(measure);
      say(
        `round ${round}: ${Object.values(visits).reduce((sum, n) => sum + n, 0)} visits so far, heap ${(measure.heapBytes / MIB).toFixed(1)} MiB, ${measure.listeners} listeners`,
      );
    }
    say(
      `visits: ${Object.entries(visits)
        .map(([name, n]) => `${name} ${n}`)
        .join(", ")}`,
    );
    faults.push(...judge(measures), ...(await aliveness(node)));
    for (const name of Object.keys(VISITS)) if ((visits[name] ?? 0) === 0) faults.push(`nobody came as "${name}"`);
  } finally {
    inspector?.close();
    await node.stop();
    await redis.stop();
  }
  return faults;
}

/** Keeps so many visitors there for so long, and waits for the last to go. */
async function crowd(url: string, clients: number, ms: number, visits: Record<string, number>): Promise<void> {
  const until = performance.now() + ms;
  const kinds = Object.entries(VISITS);
  const tokens = Array.from({ length: USERS }, (_, i) => tokenFor(`u${i}`));
  let n = 0;
  const visitor = async () => {
    while (performance.now() < until) {
      const [name, visit] = kinds[n++ % kinds.length]!;
      await visit(url, tokens[n % USERS]!).catch(() => {});
      visits[name] = (visits[name] ?? 0) + 1;
    }
  };
  await Promise.all(Array.from({ length: clients }, visitor));
}

export function judge(measures: readonly Measure[]): string[] {
  const settled = measures.slice(WARM_UP - 1);
  const [first, last] = [settled[0]!, settled.at(-1)!];
  const faults: string[] = [];
  // The least of the later ones: a round may end amid something that takes a moment more.
  const least = Math.min(...settled.slice(1).map(({ heapBytes }) => heapBytes));
  const growth = least - first.heapBytes;
  if (growth > MAX_GROWTH_BYTES) faults.push(`the heap grew by ${(growth / MIB).toFixed(1)} MiB`);
  if (last.listeners > first.listeners) faults.push(`listeners grew from ${first.listeners} to ${last.listeners}`);
  return faults;
}

async function aliveness(node: NodeServer): Promise<string[]> {
  const faults: string[] = [];
  const client = connect(node.url, "/trips", { auth: { token: tokenFor("last") }, transports: ["websocket"] });
  if (
    !(await client.ready.then(
      () => true,
      () => false,
    ))
  )
    faults.push("nobody gets in any more");
  client.close();
  for (const { level, msg } of node.logs) if (level === "error" || level === "fatal") faults.push(`logged: ${msg}`);
  if (node.output.includes("MaxListenersExceededWarning")) faults.push("a listener leak was reported");
  return faults;
}

async function metrics(node: NodeServer): Promise<string> {
  const answer = await fetch(`${node.url}/metrics`, { headers: { authorization: "Bearer ops-secret" } });
  return answer.text();
}
