/** Reads the environment, once, at start. Everything that is wrong is told at once, by name, without any secret's value. */
import { readFileSync } from "node:fs";
import type { FirebaseAccount, PushRule } from "@carillon/push";
import { checkTogether, type Fault, weakSecrets } from "./checks.ts";
import { type RedisSettings, redisSettings } from "./redis.ts";
import { SCHEMA, type Setting, type SettingName, type Values } from "./schema.ts";
import { nearMisses } from "./typos.ts";
import type { EventRoute, TrustProxy } from "./values.ts";

export type { EventRoute, Fault, RedisSettings, TrustProxy };

export interface AuthSettings {
  /** `off`: everybody is believed. */
  readonly mode: "on" | "off";
  readonly jwtSecret: string | undefined;
  readonly jwtPublicKey: string | undefined;
  readonly jwksUrl: string | undefined;
  readonly authUrl: string | undefined;
  /** As written; the security module parses it. */
  readonly apiKeys: string | undefined;
  readonly issuer: string | undefined;
  readonly audience: string | undefined;
  readonly rolesClaim: string;
  readonly tenantClaim: string;
  readonly openChannels: readonly string[];
  readonly namespaceRoles: ReadonlyMap<string, ReadonlySet<string>>;
  readonly operatorRole: string | undefined;
  readonly revocationRetentionS: number;
}

export interface LimitSettings {
  readonly connectionsPerUser: number;
  /** Absent: a default that spares balancers. */
  readonly connectionsPerAddress: number | undefined;
  readonly messagesPerS: number;
  readonly publishesPerKeyPerS: number;
  readonly publishesPerUserPerS: number;
  readonly headerBytes: number;
  readonly headersTimeoutMs: number;
}

export interface PostgresSettings {
  readonly url: string;
  /** Where LISTEN is held: `DATABASE_LISTEN_URL`, else `url`. */
  readonly listenUrl: string;
  readonly migrate: boolean;
}

export interface PushSettings {
  readonly notifyRoutes: readonly EventRoute[];
  readonly policy: readonly PushRule[];
  readonly ackMs: number;
  readonly inboxRetentionDays: number;
  /** Absent: pushes are recorded and not sent. */
  readonly account: FirebaseAccount | undefined;
  readonly perSecond: number;
  readonly ttlS: number;
  readonly maxDeadPercent: number;
}

export interface Settings {
  readonly port: number;
  readonly host: string;
  readonly wsPort: number | undefined;
  readonly metricsPort: number | undefined;
  readonly roles: ReadonlySet<"gateway" | "bridge" | "push">;
  readonly logLevel: Values["LOG_LEVEL"];
  readonly trustProxy: TrustProxy;
  readonly corsOrigins: readonly string[];
  readonly drainTimeoutS: number;
  readonly drainDelayS: number;
  readonly stickyRoute: string;
  readonly auth: AuthSettings;
  /** Absent: the in-memory bus of a single node. */
  readonly redis: RedisSettings | undefined;
  readonly redisPrefix: string;
  readonly redisIngressPrefix: string;
  /** Absent: no Postgres. */
  readonly postgres: PostgresSettings | undefined;
  /** Always heard, each by every spelling it was configured with. */
  readonly pgChannels: readonly string[];
  readonly pgCustomChannels: string;
  readonly maxListenChannels: number;
  readonly watchMaxRows: number;
  readonly push: PushSettings;
  readonly namespaces: readonly string[];
  readonly ingress: ReadonlySet<"rest" | "redis" | "postgres" | "clients">;
  readonly eventRoutes: readonly EventRoute[];
  readonly maxPayloadBytes: number;
  readonly coalesceMs: number;
  readonly refetchBudgetPerS: number | undefined;
  readonly logRetentionS: number;
  readonly logMaxEntries: number;
  readonly appendTimeoutMs: number;
  readonly ringMaxEntries: number;
  readonly ringMaxBytes: number;
  readonly pingIntervalMs: number;
  readonly pingTimeoutMs: number;
  readonly connectTimeoutMs: number;
  readonly maxConnections: number;
  readonly connectsPerS: number;
  readonly maxSubscriptionsPerConnection: number;
  readonly maxRoomsPerConnection: number;
  readonly limits: LimitSettings;
  readonly highWaterBytes: number;
  /** For the log at start: names that look like misspelt settings. */
  readonly warnings: readonly string[];
}

/** The one error of `loadSettings`; its message lists every fault, a line each. */
export class SettingsError extends Error {
  readonly faults: readonly Fault[];

  constructor(faults: readonly Fault[]) {
    const lines = faults.map((fault) => `  ${fault.name} ${fault.message}`);
    super(`${faults.length} ${faults.length === 1 ? "setting is" : "settings are"} wrong:\n${lines.join("\n")}`);
    this.name = "SettingsError";
    this.faults = faults;
  }
}

type Env = Readonly<Record<string, string | undefined>>;

/** Throws `SettingsError` with all faults. An empty variable counts as absent, since compose files can't leave one out. */
export function loadSettings(env: Env, readFile: (path: string) => string = readText): Settings {
  const faults: Fault[] = [];
  const fault = (name: string, message: string) => void faults.push({ name, message });
  const values = parseAll(env, readFile, fault);
  const redis = redisSettings(values, (name) => isGiven(env, name), fault);
  checkTogether(values, (name) => isGiven(env, name), faults);
  if (faults.length > 0) throw new SettingsError(faults);
  return toSettings(values, redis, [...weakSecrets(values), ...nearMisses(env)]);
}

function parseAll(
  env: Env,
  readFile: (path: string) => string,
  fault: (name: string, message: string) => void,
): Values {
  const values: Record<string, unknown> = {};
  for (const [name, setting] of Object.entries(SCHEMA) as [SettingName, Setting][]) {
    const text = textOf(name, setting, env, readFile, fault) ?? setting.default;
    if (text === undefined) continue;
    const result = setting.rule.safeParse(text);
    if (result.success) values[name] = result.data;
    else {
      fault(name, result.error.issues[0]?.message ?? "is wrong");
      // The checks between settings go on with the default, so that they find no follow-up faults.
      if (setting.default !== undefined) values[name] = setting.rule.parse(setting.default);
    }
  }
  return values as Values;
}

function textOf(
  name: SettingName,
  setting: Setting,
  env: Env,
  readFile: (path: string) => string,
  fault: (name: string, message: string) => void,
): string | undefined {
  const direct = env[name]?.trim() || undefined;
  const path = setting.secret === true ? env[`${name}_FILE`]?.trim() || undefined : undefined;
  if (path === undefined) return direct;
  if (direct !== undefined) {
    fault(`${name}_FILE`, `is set beside ${name}; set one of them`);
    return direct;
  }
  try {
    return readFile(path).trim() || undefined;
  } catch {
    fault(`${name}_FILE`, "must be the path of a file that this process can read");
    return undefined;
  }
}

function toSettings(values: Values, redis: RedisSettings | undefined, warnings: readonly string[]): Settings {
  const off = values.AUTH === "off";
  return {
    port: values.PORT,
    host: values.HOST?.replace(/^\[|\]$/g, "") ?? (off ? "127.0.0.1" : "0.0.0.0"),
    wsPort: values.WS_PORT,
    metricsPort: values.METRICS_PORT,
    roles: new Set(values.ROLES),
    logLevel: values.LOG_LEVEL,
    trustProxy: values.TRUST_PROXY,
    corsOrigins: values.CORS_ORIGINS,
    drainTimeoutS: values.DRAIN_TIMEOUT_S,
    drainDelayS: values.DRAIN_DELAY_S,
    stickyRoute: values.STICKY_ROUTE,
    auth: {
      mode: values.AUTH,
      jwtSecret: values.JWT_SECRET,
      jwtPublicKey: values.JWT_PUBLIC_KEY,
      jwksUrl: values.JWKS_URL,
      authUrl: values.AUTH_URL,
      apiKeys: values.API_KEYS,
      issuer: values.JWT_ISSUER,
      audience: values.JWT_AUDIENCE,
      rolesClaim: values.JWT_ROLES_CLAIM,
      tenantClaim: values.JWT_TENANT_CLAIM,
      openChannels: values.OPEN_CHANNELS,
      namespaceRoles: values.NAMESPACE_ROLES,
      operatorRole: values.OPERATOR_ROLE,
      revocationRetentionS: values.REVOCATION_RETENTION_S,
    },
    redis,
    redisPrefix: values.REDIS_PREFIX,
    redisIngressPrefix: values.REDIS_INGRESS_PREFIX,
    postgres:
      values.DATABASE_URL === undefined
        ? undefined
        : {
            url: values.DATABASE_URL,
            listenUrl: values.DATABASE_LISTEN_URL ?? values.DATABASE_URL,
            migrate: values.MIGRATE,
          },
    pgChannels: pgChannels(values),
    pgCustomChannels: values.PG_CUSTOM_CHANNELS,
    maxListenChannels: values.MAX_LISTEN_CHANNELS,
    watchMaxRows: values.WATCH_MAX_ROWS,
    push: {
      notifyRoutes: routesWithin(values.NOTIFY_ROUTES, values),
      policy: values.PUSH_POLICY,
      ackMs: values.PUSH_ACK_MS,
      inboxRetentionDays: values.INBOX_RETENTION_DAYS,
      account: values.FIREBASE_CREDENTIALS,
      perSecond: values.PUSHES_PER_S,
      ttlS: values.PUSH_TTL_S,
      maxDeadPercent: values.PUSH_DEAD_MAX_PERCENT,
    },
    namespaces: values.NAMESPACES,
    ingress: new Set(values.INGRESS),
    eventRoutes: routesWithin(values.EVENT_ROUTES, values),
    maxPayloadBytes: values.MAX_PAYLOAD_BYTES,
    coalesceMs: values.COALESCE_MS,
    refetchBudgetPerS: values.REFETCH_BUDGET_PER_S,
    logRetentionS: values.LOG_RETENTION_S,
    logMaxEntries: values.LOG_MAX_ENTRIES,
    appendTimeoutMs: values.APPEND_TIMEOUT_MS,
    ringMaxEntries: values.RING_MAX_ENTRIES,
    ringMaxBytes: values.RING_MAX_BYTES,
    pingIntervalMs: values.PING_INTERVAL_MS,
    pingTimeoutMs: values.PING_TIMEOUT_MS,
    connectTimeoutMs: values.CONNECT_TIMEOUT_MS,
    maxConnections: values.MAX_CONNECTIONS,
    connectsPerS: values.CONNECTS_PER_S,
    maxSubscriptionsPerConnection: values.MAX_SUBSCRIPTIONS_PER_CONNECTION,
    maxRoomsPerConnection: values.MAX_ROOMS_PER_CONNECTION,
    limits: {
      connectionsPerUser: values.MAX_CONNECTIONS_PER_USER,
      connectionsPerAddress: values.MAX_CONNECTIONS_PER_ADDRESS,
      messagesPerS: values.MESSAGES_PER_S,
      publishesPerKeyPerS: values.PUBLISHES_PER_KEY_PER_S,
      publishesPerUserPerS: values.PUBLISHES_PER_USER_PER_S,
      headerBytes: values.MAX_HEADER_BYTES,
      headersTimeoutMs: values.HEADERS_TIMEOUT_MS,
    },
    highWaterBytes: values.HIGH_WATER_BYTES,
    warnings,
  };
}

function pgChannels(values: Values): readonly string[] {
  if (values.PG_CHANNELS.length > 0) return values.PG_CHANNELS;
  const spellings = values.NAMESPACES.flatMap((name) => [`refresh.${name}`, `${name}.refresh`]);
  return [...new Set(["chat", "orders", "system", "notifications", ...spellings])];
}

/** The default routes lead to the default namespaces; a deployment with others keeps what still leads somewhere. */
function routesWithin(routes: readonly EventRoute[], values: Values): readonly EventRoute[] {
  return routes
    .map(({ pattern, namespaces }) => ({
      pattern,
      namespaces: namespaces.filter((name) => values.NAMESPACES.includes(name)),
    }))
    .filter(({ namespaces }) => namespaces.length > 0);
}

function isGiven(env: Env, name: string): boolean {
  return (env[name]?.trim() ?? "") !== "" || (env[`${name}_FILE`]?.trim() ?? "") !== "";
}

function readText(path: string): string {
  return readFileSync(path, "utf8");
}
