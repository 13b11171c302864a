import { randomBytes } from "node:crypto";
import { createDatabase } from "./postgres.ts";

declare module "vitest" {
  interface ProvidedContext {
    redisUrl: string;
    postgresUrl: string;
  }
}

/**
 * The Redis that all `*.redis.test.ts` of a run share. `prefix` is new with every call, for REDIS_PREFIX: files run side by side. A
 * test that stops Redis, or needs it otherwise set, starts its own with `startRedis`.
 */
export async function sharedRedis(): Promise<{ url: string; prefix: string }> {
  return { url: await provided("redisUrl"), prefix: `t${randomBytes(6).toString("hex")}:` };
}

/** The Postgres that all `*.postgres.test.ts` of a run share: its URL as superuser, for `createDatabase` and `createTemplate`. */
export function sharedPostgres(): Promise<string> {
  return provided("postgresUrl");
}

/** The URL of a new, empty database in the shared Postgres; a copy of `template` where given. */
export async function sharedDatabase(template?: string): Promise<string> {
  return createDatabase(await sharedPostgres(), undefined, template);
}

/** Only test files can import vitest, and `npm start` uses this package too. */
async function provided(key: "redisUrl" | "postgresUrl"): Promise<string> {
  const { inject } = await import("vitest");
  return inject(key);
}
