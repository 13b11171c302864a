import type { Redis } from "ioredis";

/** Only where ioredis comes back from: told to disconnect while it still looks for the server, it would end for good. */
export function reconnect(redis: Redis): void {
  if (redis.status === "ready" || redis.status === "connect") redis.disconnect(true);
}

/** Between `ms` and two and a half times that, so that nodes don't return in step. */
export function jitter(ms: number): number {
  return ms + Math.floor(Math.random() * ms * 1.5);
}
