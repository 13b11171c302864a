/** `npm run load -- <scenario>`: many clients by k6, against nodes of its own or a deployment that is there. */
import { spawn } from "node:child_process";
import { existsSync, mkdirSync, readFileSync, rmSync } from "node:fs";
import { join, resolve } from "node:path";
import { startCluster } from "@carillon/testkit";
import { provide } from "../../scripts/provide.ts";
import { UsageError } from "../command-line.ts";
import { findK6, NoK6 } from "./binary.ts";
import { type Options, readOptions, usage } from "./options.ts";

const say = (line: string) => process.stderr.write(`  ${line}\n`);

try {
  const options = readOptions(process.argv.slice(2));
  if ("print" in options) console.log(options.print);
  else process.exitCode = await load(options);
} catch (error) {
  if (!(error instanceof UsageError || error instanceof NoK6)) throw error;
  console.error(error instanceof UsageError ? `${error.message}\n\n${usage}` : error.message);
  process.exitCode = 2;
}

async function load(options: Options): Promise<number> {
  const k6 = await findK6(say);
  if (options.target !== undefined) return run(k6, options, options.target);
  provide(["redis-server", "nginx"]);
  say(`starting ${options.nodes} nodes behind nginx`);
  const cluster = await startCluster({
    nodes: options.nodes,
    env: { CONNECTS_PER_S: "100000", PUBLISHES_PER_KEY_PER_S: "1000000", MAX_CONNECTIONS_PER_ADDRESS: "100000" },
  });
  try {
    return await run(k6, options, { url: cluster.url });
  } finally {
    await cluster.stop();
  }
}

async function run(
  k6: string,
  options: Options,
  target: { url: string; key?: string | undefined; token?: string | undefined },
): Promise<number> {
  const { scenario, out, clients, seconds, rate } = options;
  mkdirSync(out, { recursive: true });
  const files = { json: join(out, `load-${scenario}.json`), chart: join(out, `load-${scenario}.html`) };
  rmSync(files.json, { force: true });
  say(`${scenario}: ${clients} clients, ${seconds} s, ${rate} publications/s at ${target.url}`);
  const child = spawn(
    k6,
    [
      "run",
      "--quiet",
      "--summary-trend-stats",
      "min,med,p(95),p(99),max",
      join(import.meta.dirname, "scenarios", `${scenario}.ts`),
    ],
    {
      stdio: "inherit",
      env: {
        ...process.env,
        CARILLON_URL: target.url,
        ...(target.key !== undefined && { CARILLON_KEY: target.key }),
        ...(target.token !== undefined && { CARILLON_TOKEN: target.token }),
        CLIENTS: `${clients}`,
        SECONDS: `${seconds}`,
        RATE: `${rate}`,
        SUMMARY_JSON: resolve(files.json),
        K6_NO_USAGE_REPORT: "true",
        K6_WEB_DASHBOARD: "true",
        K6_WEB_DASHBOARD_PORT: "-1",
        K6_WEB_DASHBOARD_PERIOD: "1s",
        K6_WEB_DASHBOARD_EXPORT: resolve(files.chart),
      },
    },
  );
  for (const signal of ["SIGINT", "SIGTERM"] as const) process.on(signal, () => child.kill(signal));
  const code = await new Promise<number | null>((done) => child.once("close", done));
  if (!existsSync(files.json)) throw new Error(`k6 ended with ${code} and without a summary`);
  say(`${files.json} has everything, ${files.chart} the charts`);
  const { faults } = JSON.parse(readFileSync(files.json, "utf8")) as { readonly faults: readonly string[] };
  return code === 0 && faults.length === 0 ? 0 : 1;
}
