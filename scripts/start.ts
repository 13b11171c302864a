/**
 * `npm start`: Carillon on this machine, to look at and to develop against. An embedded Postgres whose data stay, and one node or,
 * with `--nodes`, a cluster with Redis and nginx.
 */
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { basename, join, relative } from "node:path";
import { parseArgs } from "node:util";
import {
  api,
  createDatabase,
  databaseUrl,
  freePort,
  isFree,
  isReachable,
  NodeServer,
  queryAt,
  reachableFallback,
  startCluster,
  startPostgres,
  startRedis,
  unprivilegedUser,
  waitFor,
} from "../packages/testkit/src/index.ts";
import { print } from "./log-lines.ts";
import { howToInstall, missing } from "./provide.ts";

const usage = `npm start -- [options]

  --nodes <n>   a cluster of n nodes (up to 16) with Redis and nginx, which must be on PATH; without it, one node
  --help        this text

Environment: PORT (3000) and LOG_LEVEL (info). Data stay in .carillon; delete it to begin anew.`;

const root = join(import.meta.dirname, "..");
const state = join(root, ".carillon");

/** What has been started, undone from the last to the first. */
const stops: (() => Promise<unknown>)[] = [];
let stopping: Promise<never> | undefined;

const { nodes, port } = options();
stopOnSignals();
try {
  await start();
} catch (error) {
  if (stopping === undefined) {
    console.error(`\n${error instanceof Error ? error.message : error}`);
    await stop(1);
  }
}

async function start(): Promise<void> {
  const dataDir = postgresDir();
  console.log(existsSync(dataDir) ? "Starting Postgres." : "Creating a Postgres; this happens once.");
  const postgres = await startPostgres({ dataDir, port: await stablePort("postgres.port"), fsync: true });
  stops.push(() => postgres.stop());
  const database = databaseUrl(postgres.url, "carillon");
  if ((await postgres.query("select from pg_database where datname = 'carillon'")).length === 0) {
    await createDatabase(postgres.url, "carillon");
  }

  const env = { AUTH: "off", LOG_LEVEL: process.env.LOG_LEVEL ?? "info" };
  console.log(nodes === 1 ? "Starting the node." : `Starting Redis, ${nodes} nodes and nginx.`);
  const url = nodes === 1 ? await startAlone(env, database) : await startTogether(env, database);

  // The node's own migrations come first: the examples use what they make.
  await waitFor(async () => (await api(url).get("/readyz")).body?.status === "ok", {
    what: `${url}/readyz to say ok`,
    timeoutMs: 60_000,
    everyMs: 100,
  });
  const examples = join(root, "infra", "postgres", "examples.sql");
  if (existsSync(examples)) await queryAt(database, readFileSync(examples, "utf8"));

  console.log(`
Carillon is running, without authentication, for this machine only.

  demo      ${url}/demo
  API       ${url}/docs
  database  ${database}
            its data are in ${relative(process.cwd(), dataDir).startsWith("..") ? dataDir : relative(process.cwd(), dataDir)}

Open the demo, then try:

  curl ${url}/api/refresh/trips -H 'content-type: application/json' -d '{"scope":"TRIP_APPROVED"}'

Ctrl-C stops everything; the data stay.
`);
}

async function startAlone(env: Record<string, string>, database: string): Promise<string> {
  const node = new NodeServer({ ...env, DATABASE_URL: database, PORT: `${port}` }, { onLine: (line) => print(line) });
  stops.push(() => node.stop());
  await node.start();
  void node.exited.then(({ code }) => {
    if (stopping !== undefined) return;
    console.error(`The node ended by itself (exit code ${code}).`);
    void stop(1);
  });
  return node.url;
}

async function startTogether(env: Record<string, string>, database: string): Promise<string> {
  const dir = join(state, "redis");
  const redis = await startRedis({ appendonly: "everysec", dir, port: await stablePort("redis.port") });
  stops.push(() => redis.stop());
  const cluster = await startCluster({
    nodes,
    redis,
    postgres: { url: database },
    port,
    env: { STICKY_ROUTE: "auto", ...env }, // stock clients outside of browsers poll first, and keep no cookies
    onLine: (line, node) => print(line, `node ${node}`),
  });
  stops.push(() => cluster.stop());
  return cluster.url;
}

function options(): { nodes: number; port: number } {
  try {
    const { values } = parseArgs({ options: { nodes: { type: "string", default: "1" }, help: { type: "boolean" } } });
    if (values.help) {
      console.log(usage);
      process.exit(0);
    }
    const nodes = Number(values.nodes);
    if (!Number.isInteger(nodes) || nodes < 1 || nodes > 16) throw new Error("--nodes takes a number from 1 to 16");
    const port = Number(process.env.PORT ?? "3000");
    if (!Number.isInteger(port) || port < 1 || port > 65_535) throw new Error("PORT must be a number from 1 to 65535");
    const absent = nodes === 1 ? [] : missing(["redis-server", "nginx"]);
    if (absent.length > 0) throw new Error(`--nodes needs ${absent.join(" and ")}.\n${howToInstall(absent)}`);
    return { nodes, port };
  } catch (error) {
    console.error(`${(error as Error).message}\n\n${usage}`);
    process.exit(2);
  }
}

/** In the project, unless this is root and the project where the user who then runs Postgres cannot go, such as below /root. */
function postgresDir(): string {
  const dir = join(state, "postgres");
  mkdirSync(state, { recursive: true });
  if (isReachable(dir, unprivilegedUser())) return dir;
  const id = createHash("sha256").update(root).digest("hex").slice(0, 8);
  const other = join(reachableFallback, `${basename(root)}-${id}`, "postgres");
  console.log(`Postgres cannot run as root, and no other user can reach ${root}: its data are in ${other}.`);
  return other;
}

/** The port of the last time while it is free: a psql or an application that was set up with it goes on working. */
async function stablePort(name: string): Promise<number> {
  const file = join(state, name);
  const last = existsSync(file) ? Number(readFileSync(file, "utf8")) : 0;
  const port = last > 0 && (await isFree(last)) ? last : await freePort();
  writeFileSync(file, `${port}\n`);
  return port;
}

function stopOnSignals(): void {
  let since: number | undefined;
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) {
    process.on(signal, () => {
      // One Ctrl-C arrives several times: from the terminal, from npm, from run.mjs.
      since ??= performance.now();
      if (performance.now() - since > 1_000) {
        console.error("Not waiting any longer.");
        process.exit(1); // what still runs ends with this process
      }
      if (stopping === undefined) console.log("\nStopping.");
      void stop(0);
    });
  }
}

function stop(exitCode: number): Promise<never> {
  stopping ??= (async () => {
    for (let undo = stops.pop(); undo !== undefined; undo = stops.pop()) {
      await undo().catch((error: unknown) => console.error(error));
    }
    process.exit(exitCode);
  })();
  return stopping;
}
