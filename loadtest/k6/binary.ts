/** k6 itself: the one that is named, one on PATH, or one that Go builds, once, outside of this folder. */
import { execFile, spawn } from "node:child_process";
import { existsSync, mkdirSync } from "node:fs";
import { homedir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";

const VERSION = "v1.8.1";
const CACHE = join(process.env.XDG_CACHE_HOME ?? join(homedir(), ".cache"), "carillon", `k6-${VERSION}`);

export class NoK6 extends Error {}

/** Throws `NoK6` with what to do about it. */
export async function findK6(say: (line: string) => void): Promise<string> {
  const named = process.env.K6;
  if (named !== undefined) {
    if (await runs(named, "version")) return named;
    throw new NoK6(`K6=${named} is not a k6 that runs`);
  }
  const built = join(CACHE, "k6");
  if (existsSync(built)) return built;
  if (await runs("k6", "version")) return "k6";
  if (!(await runs("go", "version"))) {
    throw new NoK6(
      "there is no k6 on PATH and no Go to build it; see https://grafana.com/docs/k6/latest/set-up/install-k6/",
    );
  }
  say(`building k6 ${VERSION} into ${CACHE}, once; this takes some minutes`);
  mkdirSync(CACHE, { recursive: true });
  await install(say);
  return built;
}

async function install(say: (line: string) => void): Promise<void> {
  const go = spawn("go", ["install", `go.k6.io/k6@${VERSION}`], {
    env: { ...process.env, GOBIN: CACHE, GOFLAGS: "-mod=mod" },
    stdio: ["ignore", "ignore", "pipe"],
  });
  let last = "";
  go.stderr.on("data", (data) => {
    last = String(data).trim().split("\n").at(-1) ?? "";
  });
  const began = performance.now();
  const progress = setInterval(() => say(`${Math.round((performance.now() - began) / 1000)} s: ${last}`), 15_000);
  const code = await new Promise((resolve) => go.once("close", resolve));
  clearInterval(progress);
  if (code !== 0) throw new NoK6(`go install go.k6.io/k6@${VERSION} failed: ${last}`);
}

async function runs(command: string, argument: string): Promise<boolean> {
  try {
    await promisify(execFile)(command, [argument]);
    return true;
  } catch {
    return false;
  }
}
