/** `npm run chaos`: breaks a cluster in every way that is known, and counts what its clients lose. */
import { mkdir, readFile, writeFile } from "node:fs/promises";
import { dirname } from "node:path";
import { provide } from "../../scripts/provide.ts";
import { UsageError } from "../command-line.ts";
import { type Options, readOptions } from "./options.ts";
import { play } from "./play.ts";
import { ProgressLine, table, tableBeside } from "./report.ts";
import type { Result } from "./result.ts";
import type { Scenario } from "./scenarios/scenario.ts";

process.exitCode = await main();
// Whatever is still open belongs to something that was broken on purpose.
process.exit();

async function main(): Promise<number> {
  try {
    const options = readOptions(process.argv.slice(2));
    if ("print" in options) {
      console.log(options.print);
      return 0;
    }
    return await run(options);
  } catch (error) {
    if (!(error instanceof UsageError)) throw error;
    console.error(`${error.message}\n--help says more.`);
    return 2;
  }
}

async function run(options: Options): Promise<number> {
  const { scenarios, json, beside, ...rest } = options;
  const stock = beside === undefined ? undefined : await resultsIn(beside);
  if (json !== undefined) await mkdir(dirname(json), { recursive: true });
  if (options.target === undefined) provide(["redis-server", "redis-sentinel", "nginx"]);
  const { nodes, clients, seconds, rate, seed, baseline } = rest;
  console.log(
    `${baseline ? "The stock stack" : "Carillon"}: ${options.target?.url ?? `${nodes} nodes`}, ${clients} clients, ` +
      `${seconds} s of ${rate} publications a second in each scenario, seed ${seed}.`,
  );
  const line = new ProgressLine();
  const results: Result[] = [];
  const broken: string[] = [];
  // What was started ends with this process.
  process.once("SIGINT", () => {
    line.clear();
    console.log(`\n${table(results)}`);
    process.exit(130);
  });
  for (const scenario of scenarios) {
    try {
      const result = await played(scenario, options, line);
      results.push(result);
      console.log(`${scenario.name}: ${[...result.faults, ...result.warnings].join("; ") || "ok"}`);
      if (!baseline) for (const sample of result.samples.slice(0, 10)) console.log(`  ${sample}`);
    } catch (error) {
      // The others can still be played, but the run as a whole has shown nothing for this one.
      broken.push(scenario.name);
      console.error(`${scenario.name} could not be played: ${error instanceof Error ? error.stack : error}`);
    }
    // After each, so that a run that is ended leaves what it has.
    if (json !== undefined)
      await writeFile(json, `${JSON.stringify({ options: rest, results, broken }, undefined, 1)}\n`);
  }
  console.log(`\n${table(results)}`);
  if (stock !== undefined) console.log(`\nBeside the stock stack, in brackets:\n\n${tableBeside(results, stock)}`);
  if (broken.length > 0) return 1;
  return !baseline && results.some(({ faults }) => faults.length > 0) ? 1 : 0;
}

/** A machine that is too busy to start everything says nothing about what is started: once more then. */
async function played(scenario: Scenario, options: Options, line: ProgressLine): Promise<Result> {
  try {
    return await play(scenario, options, line);
  } catch (error) {
    console.error(`${scenario.name} could not be played, and is tried once more: ${error}`);
    return play(scenario, options, line);
  }
}

/** Read before anything is played, since a run takes long. */
async function resultsIn(file: string): Promise<readonly Result[]> {
  try {
    return (JSON.parse(await readFile(file, "utf8")) as { results: Result[] }).results;
  } catch (error) {
    throw new UsageError(`--beside ${file}: ${(error as Error).message}`);
  }
}
