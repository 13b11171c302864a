/** The two that are compared, each as one process on the same Redis, with the same HTTP calls to publish. */
import { fileURLToPath } from "node:url";
import { freePort, NodeServer, Service, waitFor } from "@carillon/testkit";

export interface Subject {
  readonly name: "product" | "stock";
  readonly url: string;
  readonly pid: number;
  /** What it wrote so far. */
  output(): string;
  stop(): Promise<unknown>;
}

export type StartSubject = (
  redisUrl: string,
  nodeOptions?: readonly string[],
  env?: Readonly<Record<string, string>>,
) => Promise<Subject>;

const stockProgram = fileURLToPath(new URL("../chaos/baseline/main.ts", import.meta.url));

export const product: StartSubject = (redisUrl, nodeOptions = [], env = {}) =>
  // As in the image.
  productWith(["--max-semi-space-size=16", ...nodeOptions], redisUrl, env);

/** As Node starts it, with whatever size of young generation V8 grows to. */
export const productUntuned: StartSubject = (redisUrl, nodeOptions = [], env = {}) =>
  productWith(nodeOptions, redisUrl, env);

async function productWith(
  nodeOptions: readonly string[],
  redisUrl: string,
  env: Readonly<Record<string, string>>,
): Promise<Subject> {
  const node = new NodeServer({
    REDIS_URL: redisUrl,
    LOG_LEVEL: "info",
    CONNECTS_PER_S: "100000",
    MAX_CONNECTIONS: "100000",
    REDIS_PREFIX: "bench",
    NODE_OPTIONS: nodeOptions.join(" "),
    ...env,
  });
  await node.start();
  await waitFor(async () => (await node.readyz()).status === 200, { what: "the node to be ready", timeoutMs: 60_000 });
  return { name: "product", url: node.url, pid: node.pid, output: () => node.output, stop: () => node.stop() };
}

export const stock: StartSubject = async (redisUrl, nodeOptions = [], env = {}) => {
  const port = await freePort();
  const url = `http://127.0.0.1:${port}`;
  const service = new Service({
    name: "the stock node",
    command: process.execPath,
    args: [stockProgram],
    env: {
      PATH: process.env.PATH ?? "",
      PORT: String(port),
      REDIS_URL: redisUrl,
      NODE_OPTIONS: nodeOptions.join(" "),
      ...env,
    },
    ready: (running) => running.output.includes('"listening"'),
  });
  await service.start();
  return { name: "stock", url, pid: service.pid, output: () => service.output, stop: () => service.stop() };
};

/** Publishes `events` messages in one call and resolves when it is answered. */
export async function publish(
  { url }: Pick<Subject, "url">,
  channel: string,
  payload: unknown,
  events: number,
): Promise<void> {
  const publications = Array.from({ length: events }, () => ({ channel, payload }));
  const response = await fetch(`${url}/api/publications`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ publications }),
  });
  if (response.status !== 202) throw new Error(`publishing was answered ${response.status}: ${await response.text()}`);
  await response.arrayBuffer();
}
