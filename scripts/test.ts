/**
 * `npm test`: provides the servers that the tests run against, runs vitest, and says at the very end how many tests passed and
 * failed. In CI a file that failed runs once more, and is named either way. Arguments go to vitest: `npm test -- --project unit ids`.
 */
import { type CliOptions, parseCLI, startVitest, type TestModule } from "vitest/node";
import { provide } from "./provide.ts";

/** Of the programs in `provide.ts`, what each vitest project needs; Postgres comes with npm. */
const needs: Record<string, string[]> = {
  unit: [],
  redis: ["redis-server", "redis-sentinel"],
  postgres: ["pgbouncer"],
  e2e: ["redis-server", "redis-sentinel", "nginx", "pgbouncer"],
  browser: ["redis-server", "nginx", "chromium"],
};

/** Many processes on whatever machine CI has: there, a file that failed runs once more. Where many failed, it isn't the machine. */
const MAX_AGAIN = 3;
/** Errors outside of any test, such as a rejection that nobody awaited, are failures too. */
let strayErrors = 0;

const { filter, options } = parseCLI(["vitest", "run", ...process.argv.slice(2)]);
const chosen = [options.project ?? Object.keys(needs)].flat();
// A pattern, as in `--project '!browser'`, is vitest's to understand: then everything is provided.
const isKnown = chosen.every((name) => name in needs);
provide([...new Set((isKnown ? chosen : Object.keys(needs)).flatMap((name) => needs[name] ?? []))]);

console.log("== testing");
let modules = await run(filter, options);
const failed = modules.filter((module) => !module.ok());
if (process.env.CI !== undefined && failed.length > 0 && failed.length <= MAX_AGAIN) {
  console.log("== once more, what failed");
  const again = await run(
    failed.map(({ relativeModuleId }) => relativeModuleId),
    { ...options, project: failed.map(({ project }) => project.name) },
  );
  modules = [...modules.filter((module) => module.ok()), ...again];
  for (const { relativeModuleId } of failed) console.log(`needed another run: ${relativeModuleId}`);
}

const counts = { passed: 0, failed: strayErrors, skipped: 0 };
for (const module of modules) count(module);
if (counts.passed + counts.failed === 0) console.error("No test ran: is the filter right?");
process.exitCode = counts.failed > 0 || counts.passed === 0 ? 1 : 0;
const skipped = counts.skipped > 0 ? `, ${counts.skipped} skipped` : "";
// At `exit`, so that nothing comes after it.
process.on("exit", () => console.log(`${counts.passed} passed, ${counts.failed} failed${skipped}`));

/** With servers of its own. */
async function run(files: string[], options: CliOptions): Promise<TestModule[]> {
  const vitest = await startVitest("test", files, { ...options, watch: false });
  const modules = vitest.state.getTestModules();
  strayErrors += vitest.state.getUnhandledErrors().length;
  await vitest.close();
  return modules;
}

function count(module: TestModule): void {
  for (const test of module.children.allTests()) {
    const { state } = test.result();
    if (state === "pending")
      counts.failed += 1; // it was never finished
    else counts[state] += 1;
  }
  // A file, or a suite's hook, that fails by itself may leave its tests skipped or unknown.
  counts.failed += module.errors().length;
  for (const suite of module.children.allSuites()) counts.failed += suite.errors().length;
}
