/**
 * Runs one of the project's scripts under the project's own Node: `node scripts/run.mjs scripts/start.ts --nodes 3`.
 *
 * It stands behind every npm script, so that a fresh clone needs nothing but some Node (18 or newer) and npm: it installs what is
 * missing and then hands over. Each of them says `exec`: npm's signals reach a shell otherwise, which dies of them and leaves this
 * process behind. Plain JavaScript, and nothing imported from node_modules, because it runs before there is one.
 */
import { spawn, spawnSync } from "node:child_process";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { constants } from "node:os";
import { delimiter, dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const bin = join(root, "node_modules", ".bin");
const node = join(bin, "node");
const stamp = join(root, "node_modules", ".carillon-installed");

const [script, ...args] = process.argv.slice(2);
if (script === undefined) fail("Usage: node scripts/run.mjs <script> [arguments]");
if (Number(process.versions.node.split(".")[0]) < 18) {
  fail(`This is Node ${process.versions.node}. Any Node from 18 on will do to begin with: https://nodejs.org`);
}

if (!isInstalled()) install();
handOver();

/** The stamp holds the lockfile that was installed: file times say nothing after a checkout. */
function isInstalled() {
  return existsSync(node) && existsSync(stamp) && readFileSync(stamp, "utf8") === lockfile();
}

function install() {
  const { packageManager, devDependencies } = JSON.parse(readFileSync(join(root, "package.json"), "utf8"));
  // pnpm runs under whatever Node is here, and judges packages by the one that they will run under.
  const settings = [`--config.node-version=${devDependencies.node}`];
  const command = ["-y", packageManager, "install", "--frozen-lockfile", ...settings];
  console.error(`Installing dependencies (npx ${command.join(" ")}); once, about a minute.`);
  const { status, error } = spawnSync("npx", command, {
    cwd: root,
    stdio: ["ignore", 2, 2], // progress is not the script's output
    shell: process.platform === "win32",
    env: { ...process.env, CI: process.env.CI ?? "1" }, // never asks, since nobody could answer
  });
  if (error) fail(`Could not run npx: ${error.message}. It comes with npm; is npm on PATH?`);
  if (status !== 0) {
    fail(
      [
        `The installation failed (exit code ${status}); its own message is above.`,
        "  - no connection, or behind a proxy: npm reads HTTPS_PROXY and `npm config set registry <url>`",
        "  - pnpm-lock.yaml does not fit a package.json: npx pnpm install --no-frozen-lockfile",
        "  - anything else: delete node_modules and try again",
      ].join("\n"),
    );
  }
  if (!existsSync(node)) {
    fail("The installation brought no Node: node_modules/.bin/node is missing. Delete node_modules and try again.");
  }
  writeFileSync(stamp, lockfile());
}

function handOver() {
  const child = spawn(node, [script, ...args], {
    cwd: root,
    stdio: "inherit",
    env: { ...process.env, PATH: `${bin}${delimiter}${process.env.PATH ?? ""}` },
  });
  // Every signal goes on, a second one too: what it means is the script's to decide. This process ends when the script does.
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"]) process.on(signal, () => child.kill(signal));
  child.on("error", (error) => fail(`Could not start ${node}: ${error.message}. Delete node_modules and try again.`));
  child.on("exit", (code, signal) => process.exit(code ?? 128 + constants.signals[signal]));
}

function lockfile() {
  return readFileSync(join(root, "pnpm-lock.yaml"), "utf8");
}

function fail(message) {
  console.error(message);
  process.exit(1);
}
