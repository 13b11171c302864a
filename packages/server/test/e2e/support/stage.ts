/** A cluster with a database of its own and the example tables in it, and the publishers' own connections. */
import { readFileSync } from "node:fs";
import {
  type Answer,
  api,
  type Cluster,
  connectSql,
  type NodeServer,
  type PostgresServer,
  type RedisServer,
  startCluster,
  waitFor,
} from "@carillon/testkit";

export type Sql = Awaited<ReturnType<typeof connectSql>>;

export interface StageOptions {
  readonly nodes: number;
  readonly redis: RedisServer;
  readonly postgres: PostgresServer;
  /** Where the nodes reach Redis; default: where it is. */
  readonly redisUrl?: string;
  readonly env?: Record<string, string>;
}

export interface Stage {
  readonly cluster: Cluster;
  readonly nodes: readonly NodeServer[];
  /** Through nginx. */
  readonly url: string;
  readonly redis: RedisServer;
  readonly postgres: PostgresServer;
  readonly databaseUrl: string;
  /** A session for one statement after another. */
  readonly sql: Sql;
  /** In that session, each when those before it are done. */
  query(text: string, values?: unknown[]): Promise<unknown>;
  /** PUBLISH, with a connection that comes back by itself. */
  publish(channel: string, text: string): Promise<void>;
  stop(): Promise<void>;
}

const examples = new URL("../../../../../infra/postgres/examples.sql", import.meta.url);

export async function openStage({ nodes, redis, postgres, redisUrl, env = {} }: StageOptions): Promise<Stage> {
  const databaseUrl = await postgres.createDatabase();
  const cluster = await startCluster({
    nodes,
    redis: { url: redisUrl ?? redis.url },
    postgres: { url: databaseUrl },
    env: { REDIS_PREFIX: new URL(databaseUrl).pathname.slice(1), ...env },
  });
  const publisher = redis.client();
  let sql: Sql | undefined;
  const stop = async () => {
    publisher.disconnect();
    await sql?.end().catch(() => {});
    await cluster.stop();
  };
  try {
    sql = await connectSql(databaseUrl);
    await sql.query(readFileSync(examples, "utf8"));
  } catch (error) {
    await stop();
    throw error;
  }
  const session = sql;
  let last: Promise<unknown> = Promise.resolve();
  return {
    cluster,
    nodes: cluster.nodes,
    url: cluster.url,
    redis,
    postgres,
    databaseUrl,
    sql,
    query(text, values) {
      last = last.catch(() => {}).then(() => session.query(text, values));
      return last;
    },
    publish: async (channel, text) => void (await publisher.publish(channel, text)),
    stop,
  };
}

/** Which of the nodes holds a lease. One that does not answer within a second holds none. */
export async function holderOf(
  nodes: readonly NodeServer[],
  lease: "bridge" | "redis-ingress",
  timeoutMs = 15_000,
): Promise<NodeServer> {
  const holds = async (node: NodeServer) => {
    const answer = await fetch(`${node.url}/metrics`, { signal: AbortSignal.timeout(1000) });
    return (await answer.text()).includes(`carillon_lease_held{lease="${lease}"} 1`);
  };
  return waitFor(
    async () => {
      const held = await Promise.all(nodes.map((node) => holds(node).catch(() => false)));
      return nodes[held.indexOf(true)];
    },
    { what: `a node to hold the lease ${lease}`, timeoutMs },
  );
}

/** The sum over all nodes. */
export async function total(
  nodes: readonly NodeServer[],
  metric: string,
  labels: Record<string, string> = {},
): Promise<number> {
  const counts = await Promise.all(nodes.map((node) => node.metric(metric, labels)));
  return counts.reduce((sum, count) => sum + count, 0);
}

export function accepted(answer: Answer): Answer {
  if (answer.status !== 202) throw new Error(`answered ${answer.status}: ${answer.text}`);
  return answer;
}

export async function post(
  url: string,
  path: string,
  body: unknown,
  headers: Record<string, string> = {},
): Promise<Answer> {
  return accepted(await api(url).post(path, body, headers));
}
