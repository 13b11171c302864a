import type { Values } from "./schema.ts";
import type { Address } from "./values.ts";

/** Where the bus is, whichever way it was written. */
export interface RedisSettings {
  readonly kind: "single" | "sentinel" | "cluster";
  /** The Redis itself, the Sentinels, or some nodes of the cluster. At least one. */
  readonly addresses: readonly Address[];
  /** The master's name; only with Sentinels. */
  readonly sentinelName: string | undefined;
  readonly sentinelPassword: string | undefined;
  readonly username: string | undefined;
  readonly password: string | undefined;
  readonly database: number;
  readonly tls: boolean;
}

const WAYS = ["REDIS_URL", "REDIS_HOST", "REDIS_SENTINELS", "REDIS_CLUSTER_NODES"] as const;
const DETAILS = [
  "REDIS_PORT",
  "REDIS_USERNAME",
  "REDIS_PASSWORD",
  "REDIS_TLS",
  "REDIS_SENTINEL_NAME",
  "REDIS_SENTINEL_PASSWORD",
] as const;

/** `undefined` without any Redis setting. Two ways at once, or details without a way, are faults: either would be guessed wrong. */
export function redisSettings(
  values: Values,
  given: (name: string) => boolean,
  fault: (name: string, message: string) => void,
): RedisSettings | undefined {
  const ways = WAYS.filter(given);
  if (ways.length > 1) fault(ways[1] ?? "", `is set beside ${ways[0]}; set one of ${WAYS.join(", ")}`);
  if (ways.length === 0) {
    const stray = DETAILS.find(given);
    if (stray !== undefined) fault(stray, `is set, but not where Redis is; set one of ${WAYS.join(", ")}`);
    return undefined;
  }
  const common = {
    sentinelName: undefined,
    sentinelPassword: undefined,
    username: values.REDIS_USERNAME,
    password: values.REDIS_PASSWORD,
    database: 0,
    tls: values.REDIS_TLS,
  };
  if (values.REDIS_URL !== undefined) return fromUrl(values.REDIS_URL, common, fault);
  if (values.REDIS_SENTINELS !== undefined) {
    return {
      ...common,
      kind: "sentinel",
      addresses: values.REDIS_SENTINELS,
      sentinelName: values.REDIS_SENTINEL_NAME,
      sentinelPassword: values.REDIS_SENTINEL_PASSWORD,
    };
  }
  if (values.REDIS_CLUSTER_NODES !== undefined)
    return { ...common, kind: "cluster", addresses: values.REDIS_CLUSTER_NODES };
  if (values.REDIS_HOST === undefined) return undefined; // it was given, but wrong: already told
  return { ...common, kind: "single", addresses: [{ host: values.REDIS_HOST, port: values.REDIS_PORT }] };
}

function fromUrl(
  text: string,
  common: Omit<RedisSettings, "kind" | "addresses">,
  fault: (name: string, message: string) => void,
): RedisSettings | undefined {
  const url = new URL(text);
  const path = url.pathname.replace(/^\//, "");
  if (!/^\d{0,4}$/.test(path)) {
    fault("REDIS_URL", "must end with a database number or nothing after the host, like redis://host:6379/0");
    return undefined;
  }
  try {
    return {
      ...common,
      kind: "single",
      addresses: [{ host: url.hostname.replace(/^\[|\]$/g, ""), port: url.port === "" ? 6379 : Number(url.port) }],
      username: url.username === "" ? common.username : decodeURIComponent(url.username),
      password: url.password === "" ? common.password : decodeURIComponent(url.password),
      database: Number(path),
      tls: common.tls || url.protocol === "rediss:",
    };
  } catch {
    fault("REDIS_URL", "must have its user and password percent-encoded");
    return undefined;
  }
}
