import { CarillonError } from "@carillon/protocol";
import type { Redis, RedisOptions } from "ioredis";
import { askOnce } from "./ask-once.ts";
import { isAuthenticationFailure, redisErrorCode } from "./failures.ts";
import { infoFields } from "./inspect.ts";
import type { RedisNames } from "./keys.ts";

export interface RedisProblem {
  readonly what: string;
  readonly fix: string;
  /** Whether nothing will work so; else something will, with a risk. */
  readonly fatal: boolean;
}

export interface ProbeOptions {
  /** Socket.IO namespaces, `/` left out. */
  readonly namespaces?: readonly string[];
  /** What the feed listens to. */
  readonly channels?: readonly string[];
  readonly patterns?: readonly string[];
  /** Default 5,000. */
  readonly timeoutMs?: number;
}

/**
 * The ACL rules that a Redis user needs and no more. PSUBSCRIBE is allowed only where a rule is literally its pattern, so that
 * `&carillon#*` alone would not do.
 */
export function minimalAcl(names: RedisNames, options: ProbeOptions = {}): string[] {
  const { namespaces = [], channels = [], patterns = [] } = options;
  const { prefix } = names;
  return [
    `~{${prefix}}:*`,
    ...[`${prefix}#*`, names.broadcastPattern, `${prefix}-request#*`, `${prefix}-response#*`, `${prefix}:*`].map(
      (name) => `&${name}`,
    ),
    ...namespaces.map((namespace) => `&${prefix}#${namespace}#*`),
    ...[...channels, ...patterns].map((name) => `&${name}`),
    ...COMMANDS.map((command) => `+${command}`),
  ];
}

export async function probe(
  base: RedisOptions,
  names: RedisNames,
  options: ProbeOptions = {},
): Promise<RedisProblem[]> {
  try {
    return await askOnce(base, options.timeoutMs ?? 5_000, async (redis) => {
      const refused = await rights(redis, names, options);
      return [...refused, ...(await circumstances(redis, base))];
    });
  } catch (error) {
    const reason = error instanceof CarillonError ? error.cause : undefined;
    if (isAuthenticationFailure(reason)) return [wrongPassword(reason)];
    throw error;
  }
}

function wrongPassword(error: unknown): RedisProblem {
  const missing = redisErrorCode(error) === "NOAUTH";
  return {
    what: missing ? "Redis wants a password and none is set" : "Redis refuses the user name or the password",
    fix: "Set user and password in REDIS_URL (redis://user:password@host), or REDIS_USERNAME and REDIS_PASSWORD.",
    fatal: true,
  };
}

type Check = readonly [rule: string, command: string, ...args: (string | number)[]];

/** Does, on keys and channels that nobody else uses, everything that the product will do. */
async function rights(redis: Redis, names: RedisNames, options: ProbeOptions): Promise<RedisProblem[]> {
  const { prefix } = names;
  const missing = new Map<string, string>();
  for (const [rule, command, ...args] of checks(names, options)) {
    try {
      await redis.call(command, ...args);
    } catch (error) {
      const code = redisErrorCode(error);
      if (isAuthenticationFailure(error) || !(error instanceof Error) || error.name !== "ReplyError") throw error;
      if (code === "NOPERM" && !missing.has(rule)) missing.set(rule, `${command.toUpperCase()}: ${error.message}`);
    }
  }
  const all = minimalAcl(names, options).join(" ");
  return [...missing].map(([rule, message]) => ({
    what: `the Redis user lacks a right (${message})`,
    fix: `ACL SETUSER <user> ${rule}   (all that prefix "${prefix}" needs: ${all})`,
    fatal: true,
  }));
}

function checks(names: RedisNames, { namespaces = [], channels = [], patterns = [] }: ProbeOptions): Check[] {
  const key = (kind: string) => names.key(`probe:${kind}`);
  const { prefix } = names;
  const keys = `~{${prefix}}:*`;
  const ownPatterns = [
    names.broadcastPattern,
    ...namespaces.map((namespace) => `${prefix}#${namespace}#*`),
    ...patterns,
  ];
  return [
    // The key first: what a command is refused for can't be told apart later.
    ...COMMAND_CHECKS.map(
      ([command, kind, ...args]): Check => [`+${command}`, command, ...(kind === "" ? [] : [key(kind)]), ...args],
    ),
    [keys, "get", key("text")],
    ["+eval", "eval", "return 1", 0],
    ["+evalsha", "evalsha", "e0e1f9fabfc9d4800c877a703b823ac0578ff8db", 0],
    ...[`${prefix}#`, `${prefix}-request#`, `${prefix}-response#`, `${prefix}:`].map(
      (start): Check => [`+publish &${start}*`, "publish", `${start}probe`, ""],
    ),
    ...[`${prefix}-request#`, `${prefix}-response#`, `${prefix}:`].map(
      (start): Check => [`+subscribe &${start}*`, "subscribe", `${start}probe`],
    ),
    ...channels.map((channel): Check => [`+subscribe &${channel}`, "subscribe", channel]),
    ...ownPatterns.map((pattern): Check => [`+psubscribe &${pattern}`, "psubscribe", pattern]),
  ];
}

/** Command, kind of key (none where it takes none), further arguments. */
const COMMAND_CHECKS: readonly (readonly [string, string, ...(string | number)[]])[] = [
  ["ping", ""],
  ["info", "", "server"],
  ["time", ""],
  ["set", "text", "1", "PX", 10_000],
  ["get", "text"],
  ["expire", "text", 10],
  ["incrby", "text", 1],
  ["pttl", "text"],
  ["hset", "hash", "a", "1"],
  ["hmget", "hash", "a"],
  ["hdel", "hash", "a"],
  ["hrandfield", "hash", 1],
  ["xadd", "stream", "*", "a", "1"],
  ["xrange", "stream", "-", "+", "COUNT", 1],
  ["xtrim", "stream", "MAXLEN", "~", 1],
  ["rpush", "list", "1"],
  ["lindex", "list", 0],
  ["lpop", "list"],
  ["zadd", "zset", 1, "a"],
  ["zcard", "zset"],
  ["zrem", "zset", "b"],
  ["zscore", "zset", "a"],
  ["zmscore", "zset", "a"],
  ["zrangebyscore", "zset", 0, 1],
  ["zrevrangebyscore", "zset", 1, 0],
  ["zremrangebyscore", "zset", 0, 1],
  ["pubsub", "", "NUMSUB"],
  ["del", "stream"],
  ["unlink", "stream"],
];

const COMMANDS = [
  ...COMMAND_CHECKS.map(([command]) => command),
  ...["hello", "auth", "select", "client|setname", "eval", "evalsha"],
  ...["publish", "subscribe", "unsubscribe", "psubscribe", "punsubscribe"],
];

/** What INFO tells about the server itself. Where INFO isn't allowed, that was told already. */
async function circumstances(redis: Redis, base: RedisOptions): Promise<RedisProblem[]> {
  const field = infoFields(await redis.info().catch(() => ""));
  const problems: RedisProblem[] = [];
  const version = field("redis_version");
  const [major = 0, minor = 0] = version.split(".").map(Number);
  if (version !== "" && (major < 6 || (major === 6 && minor < 2))) {
    problems.push({ what: `Redis ${version} is too old`, fix: "Use Redis 6.2 or newer, or Valkey.", fatal: true });
  }
  if (field("cluster_enabled") === "1" && base.Connector === undefined) {
    problems.push({
      what: "this Redis is a node of a Cluster",
      fix: "Name its nodes in REDIS_CLUSTER_NODES.",
      fatal: true,
    });
  }
  if (field("role") === "slave") {
    problems.push({
      what: "this Redis is a replica",
      fix: "Give the master's address, or use REDIS_SENTINELS.",
      fatal: false,
    });
  }
  const policy = field("maxmemory_policy");
  if (field("maxmemory") !== "0" && policy !== "" && policy !== "noeviction") {
    problems.push({
      what: `Redis evicts keys when it is full (maxmemory-policy ${policy}): the log could vanish, which costs everybody a gap`,
      fix: "Set maxmemory-policy noeviction: a full Redis then refuses publications instead (503).",
      fatal: false,
    });
  }
  return problems;
}
