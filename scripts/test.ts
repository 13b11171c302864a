/**
 * `npm test`: provides the servers that the tests run against, runs vitest, and says at the very end how many tests passed and
 * failed. Arguments go to vitest: `npm test -- --project unit ids`.
 */
import { parseCLI, startVitest, type TestModule } from "vitest/node";
import { provide } from "./provide.ts";

/** Of the programs in `provide.ts`, what each vitest project needs; Postgres comes with npm. */
const needs: Record<string, string[]> = {
  unit: [],
  redis: ["redis-server", "redis-sentinel"],
  postgres: ["pgbouncer"],
  e2e: ["redis-server", "redis-sentinel", "nginx", "pgbouncer"],
  browser: ["redis-server", "nginx", "chromium"],
};

const { filter, options } = parseCLI(["vitest", "run", ...process.argv.slice(2)]);
const chosen = [options.project ?? Object.keys(needs)].flat();
// A pattern, as in `--project '!browser'`, is vitest's to understand: then everything is provided.
const isKnown = chosen.every((name) => name in needs);
provide([...new Set((isKnown ? chosen : Object.keys(needs)).flatMap((name) => needs[name] ?? []))]);

console.log("== testing");
const vitest = await startVitest("test", filter, { ...options, watch: false });
const modules = vitest.state.getTestModules();
const counts = { passed: 0, failed: 0, skipped: 0 };
for (const module of modules) count(module);
// An error outside of any test, such as a rejection that nobody awaited, is a failure too.
counts.failed += vitest.state.getUnhandledErrors().length;
await vitest.close();

if (counts.passed + counts.failed === 0) console.error("No test ran: is the filter right?");
process.exitCode = counts.failed > 0 || counts.passed === 0 ? 1 : Number(process.exitCode ?? 0);
const skipped = counts.skipped > 0 ? `, ${counts.skipped} skipped` : "";
// At `exit`, so that nothing comes after it.
process.on("exit", () => console.log(`${counts.passed} passed, ${counts.failed} failed${skipped}`));

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
