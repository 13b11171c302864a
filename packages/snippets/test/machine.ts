import { spawnSync } from "node:child_process";
import { join } from "node:path";

/** Below this package's node_modules, so that blocks find the packages that they import, and git finds nothing. */
export const cache = join(import.meta.dirname, "..", "node_modules", ".cache");

export function runs(command: string, ...args: string[]): boolean {
  return spawnSync(command, args, { stdio: "ignore" }).status === 0;
}
