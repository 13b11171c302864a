import type { Redis, RedisOptions } from "ioredis";
import { askOnce } from "./ask-once.ts";
import type { RedisNames } from "./keys.ts";

/** What a Redis says of itself. What it won't say, as where CONFIG is not allowed, is absent. */
export interface RedisFacts {
  readonly version: string | undefined;
  /** When what was written reaches the disk; `off`: no append-only file. */
  readonly appendFsync: "always" | "everysec" | "no" | "off" | undefined;
  readonly snapshots: boolean | undefined;
  /** The last write to the append-only file, or the last snapshot, failed. */
  readonly persistenceFailed: boolean;
  readonly usedBytes: number | undefined;
  /** 0: without a bound of its own. */
  readonly maxBytes: number | undefined;
  /** From PUBLISH on one connection to the message on another. */
  readonly roundTripMs: number;
}

const ECHO_TIMEOUT_MS = 3_000;

/** Throws `BUS_UNAVAILABLE` with the reason as its cause, also when the message does not come back. */
export function inspect(base: RedisOptions, names: RedisNames, timeoutMs: number): Promise<RedisFacts> {
  return askOnce(base, timeoutMs, async (redis) => {
    const field = infoFields(await redis.info().catch(() => ""));
    return {
      version: field("redis_version") || undefined,
      appendFsync: await appendFsync(redis, field("aof_enabled")),
      snapshots: await snapshots(redis),
      persistenceFailed: field("aof_last_write_status") === "err" || (field("rdb_last_bgsave_status") || "ok") !== "ok",
      usedBytes: number(field("used_memory")),
      maxBytes: number(field("maxmemory")),
      roundTripMs: await askOnce(base, timeoutMs, (listener) => roundTrip(redis, listener, names)),
    };
  });
}

/** Reads the text of INFO; a field that isn't there is empty. */
export function infoFields(info: string): (name: string) => string {
  return (name) => new RegExp(`^${name}:(.*?)\\r?$`, "m").exec(info)?.[1] ?? "";
}

async function appendFsync(redis: Redis, enabled: string): Promise<RedisFacts["appendFsync"]> {
  if (enabled === "") return undefined;
  if (enabled === "0") return "off";
  return (await config(redis, "appendfsync")) as RedisFacts["appendFsync"];
}

async function snapshots(redis: Redis): Promise<boolean | undefined> {
  const save = await config(redis, "save");
  return save === undefined ? undefined : save !== "";
}

/** Hosted ones keep CONFIG to themselves. */
async function config(redis: Redis, name: string): Promise<string | undefined> {
  const answer = await redis.call("config", "get", name).catch(() => undefined);
  return Array.isArray(answer) && typeof answer[1] === "string" ? answer[1] : undefined;
}

async function roundTrip(redis: Redis, listener: Redis, names: RedisNames): Promise<number> {
  const channel = names.echoChannel(crypto.randomUUID());
  const { promise: heard, resolve, reject } = Promise.withResolvers<void>();
  listener.on("message", () => resolve());
  await listener.subscribe(channel);
  const timer = setTimeout(() => reject(new Error("a message that was published did not come back")), ECHO_TIMEOUT_MS);
  const startedAt = performance.now();
  try {
    await redis.publish(channel, "");
    await heard;
    return performance.now() - startedAt;
  } finally {
    clearTimeout(timer);
  }
}

function number(text: string): number | undefined {
  return text === "" ? undefined : Number(text);
}
