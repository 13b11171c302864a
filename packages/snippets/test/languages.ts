/** How a block of each language is run on this machine, or why it can't be. */
import { execFile, spawnSync } from "node:child_process";
import { existsSync, mkdirSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { promisify } from "node:util";
import { queryAt, tempDir } from "@carillon/testkit";
import ts from "typescript";

export interface Program {
  readonly command: string;
  readonly args: string[];
}
/** What a block becomes; a text says why it can't run here. */
type Prepare = (code: string, env: Readonly<Record<string, string>>) => Promise<Program | string>;

/** Below this package's node_modules, so that blocks find the packages that they import, and git finds nothing. */
const cache = join(import.meta.dirname, "..", "node_modules", ".cache");
const PYTHON_PACKAGES = ["python-socketio[client]==5.18.1", "websockets==17.4"];
const GO_BUILD_MS = 170_000;
let files = 0;

export const LANGUAGES: Readonly<Record<string, Prepare>> = {
  sh: async (code) => ({ command: "bash", args: ["-euo", "pipefail", "-c", code] }),
  js: async (code) => ({ command: process.execPath, args: [written(cache, "mjs", code)] }),
  ts: async (code) => ({ command: process.execPath, args: [written(cache, "mjs", compiled(code))] }),
  python: async (code) => {
    const python = await pythonWithPackages();
    return python.startsWith("/") ? { command: python, args: ["-u", written(tempDir("python"), "py", code)] } : python;
  },
  go: async (code, env) => {
    if (!runs("go", "version")) return "there is no Go (`go`) on PATH";
    const source = written(tempDir("go"), "go", code);
    const program = source.replace(/\.go$/, "");
    try {
      // The first time it compiles the standard library too. Without cgo there is less of it.
      const options = { timeout: GO_BUILD_MS, env: { ...env, CGO_ENABLED: "0" } };
      await promisify(execFile)("go", ["build", "-o", program, source], options);
    } catch (error) {
      if ((error as { killed?: boolean }).killed) return `go build took longer than ${GO_BUILD_MS} ms`;
      throw error;
    }
    return { command: program, args: [] };
  },
  sql: async (code, env) => {
    await queryAt(env.DATABASE_URL ?? "", code);
    return { command: "true", args: [] };
  },
};

function written(dir: string, ending: string, code: string): string {
  mkdirSync(dir, { recursive: true });
  const file = join(dir, `snippet-${process.pid}-${files++}.${ending}`);
  writeFileSync(file, code);
  process.once("exit", () => rmSync(file, { force: true }));
  return file;
}

/** As NestJS wants it: with decorators and their metadata. */
function compiled(code: string): string {
  return ts.transpileModule(code, {
    compilerOptions: {
      target: ts.ScriptTarget.ES2022,
      module: ts.ModuleKind.ESNext,
      experimentalDecorators: true,
      emitDecoratorMetadata: true,
    },
  }).outputText;
}

/** Made once for this working copy; resolves with its path, or with why there is none. */
async function pythonWithPackages(): Promise<string> {
  const home = join(cache, `python-${PYTHON_PACKAGES.join("-").replace(/[^\w.-]/g, "_")}`);
  const python = join(home, "bin", "python");
  if (existsSync(python)) return python;
  if (!runs("python3", "-c", "import venv, ensurepip")) return "there is no Python (`python3` with venv) on PATH";
  const aside = `${home}.${process.pid}`;
  try {
    await promisify(execFile)("python3", ["-m", "venv", aside], { timeout: 60_000 });
    const install = [
      "-m",
      "pip",
      "install",
      "--quiet",
      "--disable-pip-version-check",
      "--timeout",
      "15",
      ...PYTHON_PACKAGES,
    ];
    await promisify(execFile)(join(aside, "bin", "python"), install, { timeout: 120_000 });
    renameSync(aside, home);
    return python;
  } catch (error) {
    rmSync(aside, { recursive: true, force: true });
    return `pip could not install ${PYTHON_PACKAGES.join(" and ")}: ${(error as Error).message.split("\n")[0]}`;
  }
}

function runs(command: string, ...args: string[]): boolean {
  return spawnSync(command, args, { stdio: "ignore" }).status === 0;
}
