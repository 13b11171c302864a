/**
 * The parts that nodes share, from Redis or, without it, as in-memory twins of a single node. Nothing above this module knows
 * which of the two it runs on.
 */
import {
  type Bus,
  type Feed,
  type InterestRegistry,
  type Lease,
  type Log,
  type Logger,
  MemoryInterestRegistry,
  MemoryLog,
  MemoryPresence,
  MemoryRevocations,
  MemoryRoster,
  MemorySessions,
  MemoryTickets,
  MemoryTokenBucket,
  type Meter,
  type Presence,
  type Revocations,
  type Roster,
  type Seats,
  type Sessions,
  type TicketStore,
  type TokenBucket,
} from "@carillon/core";
import { CHANNEL_NAMESPACES } from "@carillon/protocol";
import {
  connectRedis,
  createCarillonAdapter,
  type ProbeOptions,
  RedisBus,
  RedisFeed,
  RedisInterestRegistry,
  RedisLease,
  RedisLog,
  RedisPresence,
  type RedisProblem,
  RedisRevocations,
  RedisRoster,
  RedisSeats,
  RedisSessions,
  RedisTickets,
  RedisTokenBucket,
} from "@carillon/redis";
import type { Namespace } from "socket.io";
import type { Adapter } from "socket.io-adapter";
import type { Consume } from "./limits/quota.ts";
import { redisQuota } from "./limits/redis-quota.ts";
import { sharedBucket } from "./limits/shared-bucket.ts";
import type { RedisSettings, Settings } from "./settings/load.ts";

export interface Backbone {
  readonly kind: "redis" | "memory";
  readonly log: Log;
  readonly bus: Bus;
  readonly sessions: Sessions;
  readonly interest: InterestRegistry;
  readonly revocations: Revocations;
  readonly presence: Presence;
  /** What nodes say about themselves, and about who listens to what on them. */
  readonly rosters: { readonly nodes: Roster; readonly channels: Roster };
  readonly tickets: TicketStore;
  /** What all nodes count together; absent where there is one node. */
  readonly seats: Seats | undefined;
  readonly quota: ((name: string, points: number) => Consume) | undefined;
  readonly bucket: (name: string, perSecond: number) => TokenBucket;
  readonly adapter: ((namespace: Namespace) => Adapter) | undefined;
  /** The Redis channels that applications publish to, and who carries them; absent without Redis or that ingress. */
  readonly ingress: { readonly feed: Feed; readonly lease: Lease } | undefined;
  start(): void;
  /** What is wrong with the set-up for good, each with its fix. Rejects while Redis is away. */
  probe(): Promise<readonly RedisProblem[]>;
  /** Gives leases up, so that others take over at once. */
  release(): Promise<void>;
  close(): void;
}

const SEAT_TIMEOUT_MS = 1000;

export interface BackboneOptions {
  readonly settings: Settings;
  readonly node: string;
  readonly meter: Meter;
  readonly logger: Logger;
}

export function buildBackbone(options: BackboneOptions): Backbone {
  return options.settings.redis === undefined ? inMemory(options) : onRedis(options.settings.redis, options);
}

function inMemory({ settings, node }: BackboneOptions): Backbone {
  const log = new MemoryLog({
    maxEntries: Math.min(settings.logMaxEntries, settings.ringMaxEntries),
    retentionMs: settings.logRetentionS * 1000,
  });
  return {
    kind: "memory",
    log,
    bus: log,
    sessions: new MemorySessions(),
    interest: new MemoryInterestRegistry(),
    revocations: new MemoryRevocations(settings.auth.revocationRetentionS * 1000),
    presence: new MemoryPresence(node),
    rosters: { nodes: new MemoryRoster(), channels: new MemoryRoster() },
    tickets: new MemoryTickets(),
    seats: undefined,
    quota: undefined,
    bucket: (_name, perSecond) => new MemoryTokenBucket(perSecond),
    adapter: undefined,
    ingress: undefined,
    start() {},
    probe: async () => [],
    release: async () => {},
    close() {},
  };
}

function onRedis(redis: RedisSettings, { settings, node, meter, logger }: BackboneOptions): Backbone {
  const connections = connectRedis({
    ...redisConnectOptions(redis),
    prefix: settings.redisPrefix,
    timeoutMs: settings.appendTimeoutMs,
    meter,
    logger,
  });
  const log = new RedisLog(connections, {
    retentionS: settings.logRetentionS,
    maxEntries: settings.logMaxEntries,
    appendTimeoutMs: settings.appendTimeoutMs,
    meter,
    logger,
  });
  const bus = new RedisBus(connections, log, { nodeId: node, meter, logger });
  const interest = new RedisInterestRegistry(connections, { logger });
  const revocations = new RedisRevocations(connections, { retentionS: settings.auth.revocationRetentionS, logger });
  const seats = new RedisSeats(connections, {
    node,
    // While Redis is away the rest of a handshake needs its time, too.
    timeoutMs: Math.min(settings.connectTimeoutMs / 4, SEAT_TIMEOUT_MS),
  });
  const carries = settings.ingress.has("redis") && settings.roles.has("bridge");
  const feed = carries ? new RedisFeed(connections, { ...ingressChannels(settings), meter, logger }) : undefined;
  const lease = carries ? new RedisLease(connections, { name: "redis-ingress", meter, logger }) : undefined;
  return {
    kind: "redis",
    log,
    bus,
    sessions: new RedisSessions(connections, { ttlS: settings.logRetentionS + 60, meter }),
    interest,
    revocations,
    presence: new RedisPresence(connections, { node, meter }),
    rosters: {
      nodes: new RedisRoster(connections, { name: "nodes", node }),
      channels: new RedisRoster(connections, { name: "channels", node }),
    },
    tickets: new RedisTickets(connections),
    seats,
    quota: (name, points) => redisQuota(connections, name, points),
    bucket: (name, perSecond) => sharedBucket(new RedisTokenBucket(connections, { name, perSecond }), perSecond, meter),
    adapter: createCarillonAdapter(connections, { meter, logger }),
    ingress: feed !== undefined && lease !== undefined ? { feed, lease } : undefined,
    start() {
      bus.start();
      interest.start();
      revocations.start();
      seats.start();
      lease?.start();
    },
    probe: () => connections.probe(redisProbeOptions(settings)),
    async release() {
      await lease?.stop();
      feed?.stop();
    },
    close() {
      bus.stop();
      interest.stop();
      revocations.stop();
      seats.stop();
      log.close();
      connections.close();
    },
  };
}

/** What a node will do in Redis, for the probe to try. */
export function redisProbeOptions(settings: Settings): ProbeOptions {
  return { namespaces: ioNamespaces(settings), ...ingressChannels(settings) };
}

function ioNamespaces({ namespaces }: Settings): string[] {
  return [...namespaces.map((name) => `/${name}`), ...CHANNEL_NAMESPACES];
}

/** Every spelling of each refresh namespace, and the patterns of domain events. */
function ingressChannels({ namespaces, eventRoutes, redisIngressPrefix: prefix }: Settings): {
  channels: string[];
  patterns: string[];
} {
  return {
    channels: namespaces.flatMap((namespace) => [`${prefix}refresh.${namespace}`, `${prefix}${namespace}.refresh`]),
    patterns: eventRoutes.map(({ pattern }) => prefix + pattern),
  };
}

export function redisConnectOptions(redis: RedisSettings): Parameters<typeof connectRedis>[0] {
  const { kind, addresses, username, password, database, tls, sentinelName, sentinelPassword } = redis;
  const credentials = {
    ...(username !== undefined && { username }),
    ...(password !== undefined && { password }),
    ...(tls && { tls: true }),
  };
  if (kind === "cluster") return { ...credentials, clusterNodes: addresses };
  if (kind === "sentinel") {
    return {
      ...credentials,
      sentinels: addresses,
      ...(sentinelName !== undefined && { sentinelName }),
      ...(sentinelPassword !== undefined && { sentinelPassword }),
    };
  }
  const [address] = addresses;
  return { ...credentials, ...address, db: database };
}
