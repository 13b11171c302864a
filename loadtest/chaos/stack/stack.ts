/** The deployment under test: nodes with links of their own, nginx, Redis (one, or two under Sentinels) and perhaps Postgres. */
import {
  freePort,
  type NginxServer,
  type PostgresServer,
  type RedisSentinels,
  type RedisServer,
  type StartRedisOptions,
  startNginx,
  startPostgres,
  startRedis,
  startSentinel,
} from "@carillon/testkit";
import { Redis } from "ioredis";
import { publisherSettings } from "../load/redis.ts";
import { balancer } from "./balancer.ts";
import { prepareDatabase, prepareStockDatabase } from "./database.ts";
import { type Link, startLink } from "./link.ts";
import { ChaosNode, type StackKind } from "./node.ts";

export interface StackOptions {
  readonly kind: StackKind;
  readonly nodes: number;
  /** Nodes beyond those, ready to be started. */
  readonly spareNodes: number;
  readonly redis: StartRedisOptions;
  readonly sentinel: boolean;
  readonly postgres: boolean;
  readonly env: Record<string, string>;
}

/** A node and its links; under Sentinels it finds Redis by itself, and there is no link to break. */
export interface Placed {
  readonly node: ChaosNode;
  readonly redisLink: Link | undefined;
  readonly postgresLink: Link | undefined;
}

export interface Stack {
  readonly url: string;
  readonly kind: StackKind;
  readonly placed: readonly Placed[];
  readonly nginx: NginxServer;
  /** The master, as far as it is known. */
  readonly redis: RedisServer;
  readonly sentinels: RedisSentinels | undefined;
  readonly postgres: PostgresServer | undefined;
  /** For publishers, to whoever is the master. */
  connectRedis(): Redis;
  /** Has nginx send requests to the first `count` nodes alone. */
  balanceOver(count: number): Promise<void>;
  stop(): Promise<void>;
}

export async function startStack(options: StackOptions): Promise<Stack> {
  const stops: (() => Promise<unknown>)[] = [];
  const stop = async () => {
    for (const step of stops.toReversed()) await step();
  };
  try {
    return await start(options, stops, stop);
  } catch (error) {
    await stop();
    throw error;
  }
}

async function start(
  options: StackOptions,
  stops: (() => Promise<unknown>)[],
  stop: () => Promise<void>,
): Promise<Stack> {
  const { kind, sentinel } = options;
  const sentinels = sentinel ? await startSentinel(options.redis) : undefined;
  if (sentinels) stops.push(() => sentinels.stop());
  const redis = sentinels ? await sentinels.master() : await startRedis(options.redis);
  if (!sentinels) stops.push(() => redis.stop());
  const postgres = options.postgres ? await startPostgres() : undefined;
  if (postgres) stops.push(() => postgres.stop());
  if (postgres && kind === "stock") await prepareStockDatabase(postgres);

  const placed: Placed[] = [];
  for (let index = 0; index < options.nodes + options.spareNodes; index++) {
    const redisLink = sentinels ? undefined : await startLink(redis.port);
    const postgresLink = postgres && (await startLink(postgres.port));
    for (const link of [redisLink, postgresLink]) if (link) stops.push(() => link.close());
    const env: Record<string, string> = {
      ...options.env,
      ...(redisLink && { REDIS_URL: `redis://127.0.0.1:${redisLink.port}` }),
      ...(sentinels && { REDIS_SENTINELS: sentinels.addresses, REDIS_SENTINEL_NAME: sentinels.name }),
      ...(postgres &&
        postgresLink && { DATABASE_URL: postgres.url.replace(`:${postgres.port}/`, `:${postgresLink.port}/`) }),
    };
    const node = new ChaosNode({ name: `node ${index}`, kind, port: await freePort(), env });
    placed.push({ node, redisLink, postgresLink });
  }
  const ports = placed.map(({ node }) => node.port);
  const running = placed.slice(0, options.nodes);
  stops.push(() =>
    Promise.all(
      placed.map(({ node }) => {
        node.thaw();
        return node.stop();
      }),
    ),
  );
  await Promise.all(running.map(({ node }) => node.start()));
  if (postgres && kind === "carillon") await prepareDatabase(postgres);

  const configure = balancer();
  const nginx = await startNginx((port) => configure(port, ports.slice(0, options.nodes)));
  stops.push(() => nginx.stop());
  return {
    kind,
    placed,
    nginx,
    sentinels,
    postgres,
    redis,
    url: nginx.url,
    connectRedis: () => connectPublisher(redis, sentinels),
    balanceOver: (count) => nginx.reload(configure(nginx.port, ports.slice(0, count))),
    stop,
  };
}

function connectPublisher(redis: RedisServer, sentinels: RedisSentinels | undefined): Redis {
  const client = sentinels
    ? new Redis({
        ...publisherSettings,
        sentinels: addressesOf(sentinels),
        name: sentinels.name,
        sentinelRetryStrategy: () => 200,
      })
    : new Redis(redis.url, publisherSettings);
  client.on("error", () => {}); // it is taken away on purpose
  return client;
}

function addressesOf({ addresses }: RedisSentinels): { host: string; port: number }[] {
  return addresses.split(",").map((address) => {
    const [host = "", port = ""] = address.split(":");
    return { host, port: Number(port) };
  });
}
