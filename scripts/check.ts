/** `npm run check`: everything that judges the sources without running them. Each check runs, though an earlier one failed. */
import { spawnSync } from "node:child_process";

interface Check {
  name: string;
  command: string[];
  /** What is wrong although the command was content; undefined when nothing is. */
  doubt?: (output: string) => string | undefined;
}

const checks: Check[] = [
  { name: "types (tsc)", command: ["tsc", "--noEmit"] },
  { name: "style (biome)", command: ["biome", "ci", "."] },
  { name: "dead code (knip)", command: ["knip"] },
  {
    name: "imports (dependency-cruiser)",
    command: ["depcruise", "--config", ".dependency-cruiser.mjs", "packages", "scripts", "loadtest"],
    // Under an unsupported TypeScript it sees no file and finds no fault.
    doubt: (output) => {
      const [, modules, edges] = /(\d+) modules, (\d+) dependencies cruised/.exec(output) ?? [];
      return Number(modules) > 20 && Number(edges) > 20 ? undefined : `it cruised ${modules ?? "no"} modules`;
    },
  },
];

let failed = 0;
for (const { name, command, doubt } of checks) {
  const [program = "", ...args] = command;
  const began = performance.now();
  // PATH begins with node_modules/.bin, by run.mjs.
  const { status, stdout, stderr, error } = spawnSync(program, args, { encoding: "utf8", maxBuffer: 64 * 1024 * 1024 });
  const output = `${stdout ?? ""}${stderr ?? ""}`;
  const doubted = doubt?.(output);
  const ok = status === 0 && doubted === undefined;
  const seconds = ((performance.now() - began) / 1000).toFixed(1);
  console.log(`${ok ? "ok  " : "FAIL"}  ${name}, ${seconds} s${doubted === undefined ? "" : `: ${doubted}`}`);
  if (ok) continue;
  failed += 1;
  console.log((error ? `${program}: ${error.message}` : output).trimEnd());
}
console.log(failed === 0 ? "All checks passed." : `${failed} of ${checks.length} checks failed.`);
process.exitCode = failed === 0 ? 0 : 1;
