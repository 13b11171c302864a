/**
 * Every setting of the environment, once: its rule, default, and description. `loadSettings` reads by it and
 * `docs/configuration.md` is printed from it.
 */
import type { z } from "zod";
import {
  addresses,
  apiKeys,
  channelNames,
  eventRoutes,
  firebaseAccount,
  host,
  matching,
  namePattern,
  namePatterns,
  namespaceRoles,
  oneOf,
  onOff,
  origins,
  postgresUrl,
  publicKey,
  pushPolicy,
  someOf,
  text,
  trustProxy,
  url,
  wholeNumber,
} from "./values.ts";

export interface Setting<T = unknown> {
  readonly rule: z.ZodType<T, string>;
  /** As it would be written; absent where the setting has no value unless it is given. */
  readonly default?: string;
  /** What stands in the documentation for a default that depends on others. */
  readonly defaultText?: string;
  readonly about: string;
  /** Never printed, and readable from a file named by `<NAME>_FILE`. */
  readonly secret?: true;
}

/** Gateway: connections and REST. Bridge: reads Postgres. Push: sends to devices. */
export const ROLES = ["gateway", "bridge", "push"] as const;
export const INGRESSES = ["rest", "redis", "postgres", "clients"] as const;
export const LOG_LEVELS = ["trace", "debug", "info", "warn", "error", "fatal", "silent"] as const;

const REDIS_URL = "redis://user:password@host:6379/0 or rediss://…";
const HTTP = ["http:", "https:"];

/** In the order of the documentation: a heading and its settings. */
// biome-ignore format: a line a group
export const GROUPS = {
  Process: ["PORT", "HOST", "WS_PORT", "METRICS_PORT", "ROLES", "NODE_ENV", "LOG_LEVEL", "TRUST_PROXY", "CORS_ORIGINS", "DRAIN_TIMEOUT_S", "DRAIN_DELAY_S", "STICKY_ROUTE"],
  Authentication: ["AUTH", "JWT_SECRET", "JWT_PUBLIC_KEY", "JWKS_URL", "AUTH_URL", "API_KEYS", "JWT_ISSUER", "JWT_AUDIENCE", "JWT_ROLES_CLAIM", "JWT_TENANT_CLAIM", "OPEN_CHANNELS", "NAMESPACE_ROLES", "OPERATOR_ROLE", "REVOCATION_RETENTION_S"],
  Redis: ["REDIS_URL", "REDIS_HOST", "REDIS_PORT", "REDIS_USERNAME", "REDIS_PASSWORD", "REDIS_TLS", "REDIS_SENTINELS", "REDIS_SENTINEL_NAME", "REDIS_SENTINEL_PASSWORD", "REDIS_CLUSTER_NODES", "REDIS_PREFIX", "REDIS_INGRESS_PREFIX"],
  Postgres: ["DATABASE_URL", "DATABASE_LISTEN_URL", "MIGRATE", "PG_CHANNELS", "PG_CUSTOM_CHANNELS", "MAX_LISTEN_CHANNELS", "WATCH_MAX_ROWS"],
  Notifications: ["NOTIFY_ROUTES", "PUSH_POLICY", "PUSH_ACK_MS", "INBOX_RETENTION_DAYS", "FIREBASE_CREDENTIALS", "PUSHES_PER_S", "PUSH_TTL_S", "PUSH_DEAD_MAX_PERCENT"],
  Channels: ["NAMESPACES", "INGRESS", "EVENT_ROUTES", "MAX_PAYLOAD_BYTES", "COALESCE_MS", "REFETCH_BUDGET_PER_S"],
  Log: ["LOG_RETENTION_S", "LOG_MAX_ENTRIES", "APPEND_TIMEOUT_MS", "RING_MAX_ENTRIES", "RING_MAX_BYTES"],
  Connections: ["PING_INTERVAL_MS", "PING_TIMEOUT_MS", "CONNECT_TIMEOUT_MS", "MAX_CONNECTIONS", "CONNECTS_PER_S", "MAX_SUBSCRIPTIONS_PER_CONNECTION", "MAX_ROOMS_PER_CONNECTION", "MAX_CONNECTIONS_PER_USER", "MAX_CONNECTIONS_PER_ADDRESS", "MESSAGES_PER_S", "PUBLISHES_PER_KEY_PER_S", "PUBLISHES_PER_USER_PER_S", "MAX_HEADER_BYTES", "HEADERS_TIMEOUT_MS", "HIGH_WATER_BYTES"],
} as const satisfies Record<string, readonly string[]>;

// biome-ignore format: one setting a line reads as the table it is
export const SCHEMA = {
  PORT: { rule: wholeNumber(0, 65535), default: "3000", about: "Port of REST, Socket.IO and the pages. 0: any free one; the log line `listening` names it." },
  HOST: { rule: host(), defaultText: "`127.0.0.1` under `AUTH=off`, else `0.0.0.0`", about: "Address to listen on." },
  WS_PORT: { rule: wholeNumber(0, 65535), about: "Socket.IO, `/ws` and `/events` on a port of their own. 0: any free one." },
  METRICS_PORT: { rule: wholeNumber(0, 65535), about: "Moves `/metrics` to a port of its own, without authentication: keep it inside." },
  ROLES: { rule: someOf(ROLES), default: "gateway,bridge,push", about: "What this node does. `gateway`: connections and REST; `bridge`: reads Postgres; `push`: sends to devices." },
  NODE_ENV: { rule: text(64), about: "`production` refuses `AUTH=off`." },
  LOG_LEVEL: { rule: oneOf(LOG_LEVELS), default: "info", about: "Least severe level that is logged." },
  TRUST_PROXY: { rule: trustProxy(), default: "off", about: "Whose `X-Forwarded-*` headers are believed: `off`, `on` (everybody's: only where nothing else can reach the port), a number of proxies, or addresses." },
  CORS_ORIGINS: { rule: origins(), default: "", defaultText: "none: pages of the same origin only", about: "Origins of web pages that may call and connect; also of web views (`capacitor://localhost`, `ionic://localhost`, `file://`, `null`). `*` allows every page, without cookies." },
  DRAIN_TIMEOUT_S: { rule: wholeNumber(0, 3600), default: "8", about: "Longest time between SIGTERM and exit; keep the orchestrator's grace period above it." },
  DRAIN_DELAY_S: { rule: wholeNumber(0, 600), default: "0", about: "How long a draining node still answers REST and keeps its connections, for load balancers that notice late; new connections get 503 at once. Counts within `DRAIN_TIMEOUT_S`." },
  STICKY_ROUTE: { rule: matching(/^[A-Za-z0-9_-]{1,64}$/, "auto, off, or 1 to 64 letters, digits, _ and -"), default: "off", about: "What polling session ids begin with, so that a balancer keeps clients without cookies at their node. `auto`: nginx's own name for this node (`sticky route`), the MD5 of the address and port that the handshake reached; or a text of this node's own." },

  AUTH: { rule: oneOf(["on", "off"]), default: "on", about: "`off`: everybody is believed and may do everything; for trying out. Refused with `NODE_ENV=production`." },
  JWT_SECRET: { rule: text(), secret: true, about: "Verifies client tokens signed with HS256; at least 32 random characters." },
  JWT_PUBLIC_KEY: { rule: publicKey(), secret: true, about: "Verifies client tokens signed with RS256, ES256 or EdDSA." },
  JWKS_URL: { rule: url(HTTP, "https://issuer.example.com/.well-known/jwks.json"), about: "Where the public keys of client tokens are published." },
  AUTH_URL: { rule: url(HTTP, "https://app.example.com/session"), about: "Asked with the request's cookie; answers claims." },
  API_KEYS: { rule: apiKeys(/^\s*[\w.-]{1,64}:[^\s,:]{1,1024}(?::[\w.:*|+-]+)?(?:\s*,\s*[\w.-]{1,64}:[^\s,:]{1,1024}(?::[\w.:*|+-]+)?)*\s*$/, "comma-separated name:secret or name:secret:right+right"), secret: true, about: "Keys of servers: `name:secret[:right+right]`, comma-separated. Rights: `publish:<pattern>`, `refresh:<pattern>`, `notify`, `operate`; without any: publish, refresh and notify." },
  JWT_ISSUER: { rule: text(1024), about: "The `iss` that client tokens must have." },
  JWT_AUDIENCE: { rule: text(1024), about: "The `aud` that client tokens must have or contain." },
  JWT_ROLES_CLAIM: { rule: text(256), default: "roles", about: "Claim with the roles; dots lead into objects (`realm_access.roles`)." },
  JWT_TENANT_CLAIM: { rule: text(256), default: "tenant", about: "Claim with the tenant." },
  OPEN_CHANNELS: { rule: namePatterns(), default: "", defaultText: "none", about: "Channels that every authenticated user may subscribe to; patterns like `news.*`." },
  NAMESPACE_ROLES: { rule: namespaceRoles(), default: "", defaultText: "none: open to every authenticated user", about: "Closes refresh namespaces to all but these roles, on every path: `users=admin|manager;trips=driver`." },
  OPERATOR_ROLE: { rule: text(128), about: "Users with this role are operators." },
  REVOCATION_RETENTION_S: { rule: wholeNumber(60, 31_536_000), default: "2592000", about: "How long revocations are kept: at least as long as your longest-lived token." },

  REDIS_URL: { rule: url(["redis:", "rediss:"], REDIS_URL), secret: true, about: "The bus. Without any Redis setting: a single node with an in-memory bus." },
  REDIS_HOST: { rule: host(), about: "Instead of `REDIS_URL`: host of a single Redis." },
  REDIS_PORT: { rule: wholeNumber(1, 65535), default: "6379", about: "Port of `REDIS_HOST`." },
  REDIS_USERNAME: { rule: text(256), about: "ACL user of Redis." },
  REDIS_PASSWORD: { rule: text(4096), secret: true, about: "Password of Redis." },
  REDIS_TLS: { rule: onOff(), default: "off", about: "TLS to Redis (also by `rediss://`). Own authorities: `NODE_EXTRA_CA_CERTS`." },
  REDIS_SENTINELS: { rule: addresses(26379), about: "Instead of a host: the Sentinels, `host:port,host:port`." },
  REDIS_SENTINEL_NAME: { rule: matching(/^[\w.-]{1,128}$/, "the name of a master, of letters, digits, _ . and -"), default: "mymaster", about: "Name of the master that the Sentinels watch." },
  REDIS_SENTINEL_PASSWORD: { rule: text(4096), secret: true, about: "Password of the Sentinels themselves, where they have one." },
  REDIS_CLUSTER_NODES: { rule: addresses(6379), about: "Instead of a host: some nodes of a Redis Cluster, `host:port,host:port`." },
  REDIS_PREFIX: { rule: matching(/^[\w.:-]{1,64}$/, "1 to 64 letters, digits, _ . : and -"), default: "carillon", about: "Begins every key and channel of this deployment; two deployments on one Redis need two." },
  REDIS_INGRESS_PREFIX: { rule: matching(/^[\w.:/-]{0,64}$/, "at most 64 letters, digits, _ . : / and -"), default: "", defaultText: "none", about: "Stands before the names of the Redis channels that are heard as ingress." },

  DATABASE_URL: { rule: postgresUrl(), secret: true, about: "Postgres, for the bridge and for what is stored. Without it those calls answer `NOT_CONFIGURED`." },
  DATABASE_LISTEN_URL: { rule: postgresUrl(), secret: true, about: "A direct connection for LISTEN where `DATABASE_URL` goes through a transaction pooler." },
  MIGRATE: { rule: onOff(), default: "on", about: "Whether this node brings the schema `carillon` up to date at start." },
  PG_CHANNELS: { rule: channelNames(), default: "", defaultText: "`chat,orders,system,notifications` and both spellings of each refresh namespace", about: "Channels whose NOTIFY is always heard." },
  PG_CUSTOM_CHANNELS: { rule: namePattern(), default: "*", about: "Pattern of the other channels that are heard while somebody subscribes to them; `|` parts alternatives." },
  MAX_LISTEN_CHANNELS: { rule: wholeNumber(1, 100_000), default: "1000", about: "Most custom channels that one node's clients may have listened to in Postgres." },
  WATCH_MAX_ROWS: { rule: wholeNumber(1, 100_000), default: "1000", about: "Above this many rows in one statement a watched table publishes their number instead of each row." },

  NOTIFY_ROUTES: { rule: eventRoutes(), default: "TRIP_*|VEHICLE_*=trips;USER_*=users", about: "Which types of notification refresh which namespaces beside `/notifications`: `pattern=namespace,…;…`." },
  PUSH_POLICY: { rule: pushPolicy(), default: "*=device-not-foreground", about: "When a type of notification is pushed: `always`; `device-not-foreground`, to each device that did not report it as seen; `user-not-foreground`, to none once any of the user's did. `pattern=when;…`, the first that matches decides." },
  PUSH_ACK_MS: { rule: wholeNumber(0, 60_000), default: "2000", about: "How long a device in the foreground has to report a notification as seen." },
  INBOX_RETENTION_DAYS: { rule: wholeNumber(1, 3650), default: "90", about: "How long inbox entries and records of pushes are kept." },
  FIREBASE_CREDENTIALS: { rule: firebaseAccount(), secret: true, about: "Of the Firebase project whose devices get pushes. Without it pushes are recorded and not sent." },
  PUSHES_PER_S: { rule: wholeNumber(1, 100_000), default: "5000", about: "Pushes a second, over all nodes; bursts of one second's worth pass. Keep it below the quota of the Firebase project (600,000 a minute by default)." },
  PUSH_TTL_S: { rule: wholeNumber(1, 2_419_200), default: "86400", about: "How long after its notification a push is of use: until then it is tried, and kept for a device that is off." },
  PUSH_DEAD_MAX_PERCENT: { rule: wholeNumber(1, 100), default: "20", about: "When more of a batch look dead, none is removed and sending pauses. 100: never." },

  NAMESPACES: { rule: channelNames(), default: "notifications,trips,users", about: "The refresh namespaces." },
  INGRESS: { rule: someOf(INGRESSES), default: "rest,redis,postgres,clients", about: "Where publications may come from." },
  EVENT_ROUTES: { rule: eventRoutes(), default: "trip.*=trips,notifications;user.*=users,notifications", about: "Which Redis domain events refresh which namespaces: `pattern=namespace,…;…`." },
  MAX_PAYLOAD_BYTES: { rule: wholeNumber(1024, 1_048_576), default: "65536", about: "Largest payload of a publication." },
  COALESCE_MS: { rule: wholeNumber(0, 10_000), default: "50", about: "Equal refreshes without payload within this time may share one publication. 0: never." },
  REFETCH_BUDGET_PER_S: { rule: wholeNumber(1, 1_000_000), about: "Refetches a second that your API bears; refreshes then carry `spreadMs`." },

  LOG_RETENTION_S: { rule: wholeNumber(10, 604_800), default: "3600", about: "How far back a client can resume." },
  LOG_MAX_ENTRIES: { rule: wholeNumber(100, 10_000_000), default: "100000", about: "Most entries in the log; times the payload size it bounds the memory of Redis." },
  APPEND_TIMEOUT_MS: { rule: wholeNumber(100, 60_000), default: "5000", about: "How long a publication waits for the log before it is answered `BUS_UNAVAILABLE`." },
  RING_MAX_ENTRIES: { rule: wholeNumber(16, 1_000_000), default: "10000", about: "Recent entries that each node keeps in memory for clients that come back." },
  RING_MAX_BYTES: { rule: wholeNumber(65_536, 4_294_967_296), default: "67108864", about: "Most bytes of those." },

  PING_INTERVAL_MS: { rule: wholeNumber(200, 600_000), default: "25000", about: "Time between heartbeats to a client." },
  PING_TIMEOUT_MS: { rule: wholeNumber(200, 600_000), default: "20000", about: "How long its answer may take." },
  CONNECT_TIMEOUT_MS: { rule: wholeNumber(100, 600_000), default: "10000", about: "How long a transport may stay open without joining a namespace." },
  MAX_CONNECTIONS: { rule: wholeNumber(1, 1_000_000), default: "20000", about: "Most transports on this node; more are answered 503." },
  CONNECTS_PER_S: { rule: wholeNumber(1, 100_000), default: "500", about: "New transports that this node takes a second; more are answered 503 with `Retry-After`." },
  MAX_SUBSCRIPTIONS_PER_CONNECTION: { rule: wholeNumber(1, 100_000), default: "100", about: "Most channels of one connection." },
  MAX_ROOMS_PER_CONNECTION: { rule: wholeNumber(1, 100_000), default: "100", about: "Most entity rooms of one connection." },
  MAX_CONNECTIONS_PER_USER: { rule: wholeNumber(1, 100_000), default: "100", about: "Most transports of one user, over all nodes; more are refused with `TOO_MANY_CONNECTIONS`. Not under `AUTH=off`." },
  MAX_CONNECTIONS_PER_ADDRESS: { rule: wholeNumber(1, 1_000_000), defaultText: "`1000`, and none for private addresses while `TRUST_PROXY` is off, which are a balancer's more likely than a client's", about: "Most transports of one client address (IPv6: of one /64) on this node; more are answered 503." },
  MESSAGES_PER_S: { rule: wholeNumber(1, 100_000), default: "100", about: "Messages a second of one connection, on average; bursts of five seconds' worth pass. More are answered `RATE_LIMITED`; who never slows down is disconnected." },
  PUBLISHES_PER_KEY_PER_S: { rule: wholeNumber(1, 1_000_000), default: "5000", about: "Publications a second of one API key, over all nodes; bursts of ten seconds' worth pass. More are answered `RATE_LIMITED`." },
  PUBLISHES_PER_USER_PER_S: { rule: wholeNumber(1, 1_000_000), default: "50", about: "The same for one user, over all connections." },
  MAX_HEADER_BYTES: { rule: wholeNumber(4096, 262_144), default: "16384", about: "Largest request line and headers, a token included." },
  HEADERS_TIMEOUT_MS: { rule: wholeNumber(500, 60_000), default: "10000", about: "How long the headers of a request may take to arrive, handshakes too." },
  HIGH_WATER_BYTES: { rule: wholeNumber(16_384, 1_073_741_824), default: "1048576", about: "Unsent bytes above which a slow connection leaves the live path and catches up later." },
} as const satisfies Record<string, Setting>;

export type SettingName = keyof typeof SCHEMA;

/** The values by name, as `SCHEMA`'s rules make them; those without a default may be absent. */
export type Values = {
  readonly [N in SettingName]: (typeof SCHEMA)[N] extends { default: string }
    ? z.output<(typeof SCHEMA)[N]["rule"]>
    : z.output<(typeof SCHEMA)[N]["rule"]> | undefined;
};
