import { createHash } from "node:crypto";
import { type NginxServer, startNginx } from "./nginx.ts";
import { NodeServer } from "./node.ts";
import { freePort } from "./ports.ts";
import { type PostgresServer, startPostgres } from "./postgres.ts";
import { type RedisServer, startRedis } from "./redis.ts";

export interface StartClusterOptions {
  /** How many; default 3. */
  nodes?: number;
  /** One to use, or whether to start one (default true; it keeps an append-only file, flushed always). */
  redis?: Pick<RedisServer, "url"> | boolean;
  /** One to use, or whether to start one (default false). */
  postgres?: Pick<PostgresServer, "url"> | boolean;
  /** Default true. */
  nginx?: boolean;
  /** nginx's port; default a free one. */
  port?: number;
  /** For every node, beside REDIS_URL, DATABASE_URL and PORT. */
  env?: Record<string, string>;
  onLine?: (line: string, node: number) => void;
}

export interface Cluster {
  /** Each on a port of its own that it keeps, so that `nodes[1].kill()` and `nodes[1].start()` fit the nginx in front. */
  nodes: NodeServer[];
  nginx: NginxServer | undefined;
  /** Through nginx, else the first node's. */
  url: string;
  /** What was started for this cluster; undefined when it was handed in or not wanted. */
  redis: RedisServer | undefined;
  postgres: PostgresServer | undefined;
  /** Nodes first. */
  stop(): Promise<void>;
}

/** Several nodes on one Redis and one Postgres behind a real nginx; see `balancer` for which request reaches which node. */
export async function startCluster(options: StartClusterOptions = {}): Promise<Cluster> {
  const { nodes: count = 3, redis = true, postgres = false, nginx: wantsNginx = true, env = {}, onLine } = options;
  const ownRedis = redis === true ? await startRedis({ appendonly: "always" }) : undefined;
  const ownPostgres = postgres === true ? await startPostgres() : undefined;
  const redisUrl = ownRedis?.url ?? (typeof redis === "object" ? redis.url : undefined);
  const databaseUrl = ownPostgres?.url ?? (typeof postgres === "object" ? postgres.url : undefined);

  const ports: number[] = [];
  for (let index = 0; index < count; index += 1) ports.push(await freePort());
  const nodes = ports.map(
    (port, index) =>
      new NodeServer(
        {
          ...(redisUrl !== undefined && { REDIS_URL: redisUrl }),
          ...(databaseUrl !== undefined && { DATABASE_URL: databaseUrl }),
          ...env,
          PORT: `${port}`,
        },
        { onLine: (line) => onLine?.(line, index) },
      ),
  );
  let nginx: NginxServer | undefined;
  const stop = async () => {
    await nginx?.stop();
    await Promise.all(nodes.map((node) => node.stop()));
    await Promise.all([ownRedis?.stop(), ownPostgres?.stop()]);
  };
  try {
    await Promise.all(nodes.map((node) => node.start()));
    if (wantsNginx) {
      nginx = await startNginx(
        (port) => balancer(port, ports),
        options.port === undefined ? {} : { port: options.port },
      );
    }
  } catch (error) {
    await stop();
    throw error;
  }
  return { nodes, nginx, url: nginx?.url ?? nodes[0]?.url ?? "", redis: ownRedis, postgres: ownPostgres, stop };
}

/**
 * nginx in front of the nodes. A query parameter `node=1` picks that node (counted from 0). A parameter `client=anything` keeps all
 * requests with the same value at one node while it lives, as polling needs. What has neither gets a cookie that does the same, and
 * goes anywhere when it does not send that back. So a polling client of a test, which keeps no cookies, says
 * `query: { client: "a" }` or `query: { node: "1" }`; where the nodes have `STICKY_ROUTE=auto`, its session's id says enough.
 */
export function balancer(port: number, nodePorts: number[]): string {
  const server = (nodePort: number) => `server 127.0.0.1:${nodePort} max_fails=1 fail_timeout=1s;`;
  return `
map $http_upgrade $connection_upgrade { default upgrade; "" ""; }
map $cookie_client $browser { "" $request_id; default $cookie_client; }
map $cookie_client $new_cookie { "" "client=$request_id; Path=/; HttpOnly; SameSite=Lax"; default ""; }
map $arg_client $stick { "" $browser; default $arg_client; }
map $arg_sid $owner { default all; ${nodePorts.map((port, index) => `"~^${routeOf(port)}\\." node_${index};`).join(" ")} }
map $arg_node $nodes { default $owner; ${nodePorts.map((_, index) => `"${index}" node_${index};`).join(" ")} }
upstream all { hash $stick consistent; ${nodePorts.map(server).join(" ")} }
${nodePorts.map((nodePort, index) => `upstream node_${index} { server 127.0.0.1:${nodePort} max_fails=0; }`).join("\n")}
server {
  listen 127.0.0.1:${port};
  client_max_body_size 8m;
  location / {
    proxy_pass http://$nodes;
    proxy_http_version 1.1;
    proxy_set_header Host $http_host;
    proxy_set_header Upgrade $http_upgrade;
    proxy_set_header Connection $connection_upgrade;
    proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
    proxy_set_header X-Forwarded-Proto $scheme;
    add_header Set-Cookie $new_cookie always;
    proxy_buffering off;
    proxy_connect_timeout 2s;
    proxy_read_timeout 1h;
    proxy_send_timeout 1h;
  }
}`;
}

/** What session ids of the node at this port begin with under `STICKY_ROUTE=auto`. */
function routeOf(port: number): string {
  return createHash("md5").update(`127.0.0.1:${port}`).digest("hex");
}
