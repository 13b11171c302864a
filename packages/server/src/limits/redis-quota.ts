import type { RedisConnections } from "@carillon/redis";
import { RateLimiterRedis } from "rate-limiter-flexible";
import { type Consume, WINDOW_S } from "./quota.ts";

/** A publication waits no longer for its count. */
const TIMEOUT_MS = 250;

/** Counts in Redis, for all nodes: `points` in each window. */
export function redisQuota(
  { commands, names }: Pick<RedisConnections, "commands" | "names">,
  name: string,
  points: number,
): Consume {
  const limiter = new RateLimiterRedis({
    storeClient: commands.redis,
    keyPrefix: names.key(`quota:${name}`),
    points,
    duration: WINDOW_S,
    rejectIfRedisNotReady: true,
  });
  return async (key, wanted) => {
    if (!commands.ready) throw new Error("Redis is not connected");
    return commands.attempt(() => limiter.consume(key, wanted), TIMEOUT_MS);
  };
}
