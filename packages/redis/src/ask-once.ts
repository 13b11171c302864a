import { CarillonError } from "@carillon/protocol";
import { Redis, type RedisOptions } from "ioredis";

/**
 * A connection of its own for a few questions: the others wait for a Redis that lets them in, and this one is to say why it doesn't.
 * Throws `BUS_UNAVAILABLE` with the reason as its cause.
 */
export async function askOnce<T>(
  base: RedisOptions,
  timeoutMs: number,
  work: (redis: Redis) => Promise<T>,
): Promise<T> {
  const redis = new Redis({
    ...base,
    replyMapping: "legacy",
    lazyConnect: true,
    enableReadyCheck: false,
    retryStrategy: () => null,
  });
  let failure: unknown;
  redis.on("error", (error) => {
    failure ??= error;
  });
  const timer = setTimeout(() => redis.disconnect(), timeoutMs);
  try {
    await redis.connect();
    return await work(redis);
  } catch (error) {
    if (error instanceof CarillonError) throw error;
    throw new CarillonError("BUS_UNAVAILABLE", "Redis could not be asked", {
      retryAfterS: 1,
      cause: failure ?? error,
    });
  } finally {
    clearTimeout(timer);
    redis.disconnect();
  }
}
