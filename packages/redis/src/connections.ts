import { type Logger, type Meter, noLogger, noMeter, Rarely } from "@carillon/core";
import { Redis, type RedisOptions } from "ioredis";
import { RedisCommands } from "./commands.ts";
import { isAuthenticationFailure, isDemotion } from "./failures.ts";
import { inspect, type RedisFacts } from "./inspect.ts";
import { type RedisNames, redisNames } from "./keys.ts";
import { type ProbeOptions, probe, type RedisProblem } from "./probe.ts";
import { jitter, reconnect } from "./reconnect.ts";
import { type Address, slotConnector } from "./slot-connector.ts";
import { Subscriptions } from "./subscriptions.ts";

/** One of `url`, `host`, `sentinels` with `sentinelName`, or `clusterNodes`. */
export interface RedisConnectOptions {
  /** `redis[s]://[user[:password]@]host[:port][/db]`. What else is given here wins over what it names. */
  readonly url?: string;
  readonly host?: string;
  readonly port?: number;
  readonly username?: string;
  readonly password?: string;
  readonly tls?: boolean | NonNullable<RedisOptions["tls"]>;
  readonly sentinels?: readonly Address[];
  readonly sentinelName?: string;
  readonly sentinelPassword?: string;
  readonly clusterNodes?: readonly Address[];
  readonly db?: number;
  /** Carried by every key and channel. Default `carillon`. */
  readonly prefix?: string;
  /** How long a caller waits for Redis before it hears BUS_UNAVAILABLE. Default 5,000. */
  readonly timeoutMs?: number;
  readonly logger?: Logger;
  readonly meter?: Meter;
}

/** A node's connections to Redis. They never give up: while Redis is away they wait, and they heal by themselves. */
export interface RedisConnections {
  readonly names: RedisNames;
  readonly commands: RedisCommands;
  /** What the bus, the adapters and the interest registry listen on. */
  readonly subscriptions: Subscriptions;
  /** A connection of its own for a feed, so that its backlog never delays the bus. The caller closes it. */
  openFeed(): Subscriptions;
  /** What stands in the way, each with what to do about it; empty when all is well. Rejects while Redis is away. */
  probe(options?: ProbeOptions): Promise<RedisProblem[]>;
  /** What this Redis is like, and whether a message gets through it. Rejects while Redis is away. */
  inspect(timeoutMs?: number): Promise<RedisFacts>;
  close(): void;
}

export function connectRedis(options: RedisConnectOptions): RedisConnections {
  const { logger = noLogger, meter = noMeter } = options;
  const names = redisNames(options.prefix ?? "carillon");
  const base = baseOptions(options, names);
  const open: Redis[] = [];

  const connect = (role: string): Redis => {
    const state = { refused: false, closed: false };
    const redis = new Redis({
      ...base,
      connectionName: `${names.prefix}:${role}`,
      // A wrong password is not worth five attempts a second.
      retryStrategy: () => jitter(state.refused ? 2_000 : 100),
      reconnectOnError: (error) => {
        if (!isDemotion(error)) return false;
        logger.warn({ connection: role, err: error }, "Redis is no longer the master here: connecting anew");
        // PUBLISH still "works" on a demoted master, so the listeners have no error of their own.
        for (const other of open) if (other !== redis) reconnect(other);
        return true;
      },
    });
    open.push(redis);
    watch(redis, role, state, logger);
    return redis;
  };

  const commands = new RedisCommands(connect("commands"), { timeoutMs: options.timeoutMs ?? 5_000, meter, logger });
  const subscriptions = new Subscriptions(connect("subscriber"), { meter, logger });
  const feeds: Subscriptions[] = [];
  return {
    names,
    commands,
    subscriptions,
    openFeed() {
      const feed = new Subscriptions(connect("feed"), { meter, logger });
      feeds.push(feed);
      return feed;
    },
    probe: (probeOptions) => probe(base, names, probeOptions),
    inspect: (timeoutMs = 5_000) => inspect(base, names, timeoutMs),
    close() {
      commands.close();
      subscriptions.close();
      for (const feed of feeds) feed.close();
    },
  };
}

type Base = Omit<RedisOptions, "replyMapping">;

/** How ioredis is set for every connection: left to itself it queues without bound, backs off for seconds and drops what was in flight. */
function baseOptions(options: RedisConnectOptions, names: RedisNames): Base {
  const at = address(options);
  const shared: Base = {
    ...at,
    lazyConnect: false,
    // Redis knows CLIENT SETINFO from 7.2 on; a right to it could not even be given before.
    disableClientInfo: true,
    maxRetriesPerRequest: null,
    enableOfflineQueue: false,
    autoResendUnfulfilledCommands: false,
    autoResubscribe: false,
    connectTimeout: 3_000,
    socketTimeout: 3_000,
    disconnectTimeout: 500,
    keepAlive: 10_000,
    maxLoadingRetryTime: 1_000,
  };
  if (options.clusterNodes !== undefined) {
    return { ...shared, Connector: slotConnector(options.clusterNodes, names.log, shared) };
  }
  if (options.sentinels === undefined) return shared;
  if (options.sentinelName === undefined) throw new TypeError("sentinels need the name of their master (sentinelName)");
  return {
    ...shared,
    sentinels: options.sentinels.map(({ host, port }) => ({ host, port })),
    name: options.sentinelName,
    ...(options.sentinelPassword !== undefined && { sentinelPassword: options.sentinelPassword }),
    ...(shared.tls !== undefined && { enableTLSForSentinelMode: true, sentinelTLS: shared.tls }),
    sentinelRetryStrategy: () => jitter(100),
    sentinelCommandTimeout: 2_000,
    failoverDetector: true,
    sentinelReconnectStrategy: () => jitter(1_000),
  };
}

function address(options: RedisConnectOptions): RedisOptions {
  const { tls, host, port, username, password, db } = options;
  const tlsOptions = typeof tls === "object" ? tls : tls ? {} : undefined;
  return {
    ...(options.url !== undefined && fromUrl(options.url)),
    ...(host !== undefined && { host }),
    ...(port !== undefined && { port }),
    ...(username !== undefined && { username }),
    ...(password !== undefined && { password }),
    ...(db !== undefined && { db }),
    ...(tlsOptions !== undefined && { tls: tlsOptions }),
  };
}

/** By hand, because only a string argument of `Redis` is read as a URL and it can't be combined with TLS options there. */
function fromUrl(text: string): RedisOptions {
  const url = URL.parse(text);
  if (url === null || (url.protocol !== "redis:" && url.protocol !== "rediss:")) {
    throw new TypeError("a Redis URL is redis://host:port or rediss://host:port");
  }
  const db = url.pathname.slice(1);
  if (db !== "" && !/^\d{1,4}$/.test(db)) throw new TypeError("the path of a Redis URL is a database number");
  return {
    host: url.hostname.replace(/^\[(.*)\]$/, "$1") || "127.0.0.1",
    port: url.port === "" ? 6379 : Number(url.port),
    ...(url.username !== "" && { username: decodeURIComponent(url.username) }),
    ...(url.password !== "" && { password: decodeURIComponent(url.password) }),
    ...(db !== "" && { db: Number(db) }),
    ...(url.protocol === "rediss:" && { tls: {} }),
  };
}

function watch(redis: Redis, role: string, state: { refused: boolean; closed: boolean }, logger: Logger): void {
  const rarely = new Rarely(10_000);
  redis.on("error", (error: Error) => {
    state.refused = isAuthenticationFailure(error);
    rarely.say(error.message, (heldBack) =>
      logger.warn({ connection: role, err: error, heldBack }, "the connection to Redis reported an error"),
    );
  });
  redis.on("ready", () => {
    state.refused = false;
    logger.info({ connection: role }, "connected to Redis");
  });

  // A ping a second: with socketTimeout it finds the half-open connection, and no middlebox sees an idle one.
  const ping = setInterval(() => {
    if (redis.status === "ready") redis.ping().catch(() => {}); // its failure shows as a closed connection
  }, 1_000);
  const { disconnect } = redis;
  redis.disconnect = (again = false) => {
    if (!again) {
      state.closed = true;
      clearInterval(ping);
    }
    disconnect.call(redis, again);
  };
  // ioredis ends where it was disturbed while looking for the master; a server must not.
  redis.on("end", () => {
    if (state.closed) return;
    setTimeout(() => {
      if (!state.closed && redis.status === "end") redis.connect().catch(() => {}); // reported by its 'error' event
    }, jitter(100));
  });
}
