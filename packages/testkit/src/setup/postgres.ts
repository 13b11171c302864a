import type { TestProject } from "vitest/node";
import { startPostgres } from "../index.ts";
import "../shared.ts";

/** One Postgres for the whole project `postgres`. */
export default async function setup(project: TestProject) {
  const postgres = await startPostgres();
  project.provide("postgresUrl", postgres.url);
  return () => postgres.stop();
}
