import { defineConfig, type TestProjectInlineConfiguration } from "vitest/config";

/** What a test needs stands in its file's name: `lease.redis.test.ts`. What says nothing needs no server. */
const kinds = ["redis", "postgres", "e2e", "browser"];
const minute = 60_000;

export default defineConfig({
  test: {
    globalSetup: "packages/testkit/src/setup/temp.ts",
    projects: [
      project("unit", { testTimeout: 10_000, exclude: kinds.map((kind) => `**/*.${kind}.test.ts`) }),
      project("redis", { testTimeout: minute, globalSetup: "packages/testkit/src/setup/redis.ts" }),
      project("postgres", { testTimeout: minute, globalSetup: "packages/testkit/src/setup/postgres.ts" }),
      project("e2e", { testTimeout: 3 * minute }),
      project("browser", { testTimeout: 3 * minute }),
    ],
  },
});

function project(name: string, test: TestProjectInlineConfiguration["test"]): TestProjectInlineConfiguration {
  const own = name === "unit";
  return {
    test: {
      name,
      include: ["packages/*", "loadtest"].map((folder) => `${folder}/test/**/*${own ? "" : `.${name}`}.test.ts`),
      pool: "forks",
      hookTimeout: 2 * minute,
      // Files that start servers would starve each other; vitest wants projects with other worker counts in groups of their own.
      ...(!own && { maxWorkers: 2, sequence: { groupOrder: 1 } }),
      ...test,
    },
  };
}
