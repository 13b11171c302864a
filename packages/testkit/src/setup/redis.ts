import type { TestProject } from "vitest/node";
import { startRedis } from "../index.ts";
import "../shared.ts";

/** One Redis for the whole project `redis`. */
export default async function setup(project: TestProject) {
  const redis = await startRedis();
  project.provide("redisUrl", redis.url);
  return () => redis.stop();
}
