import { chmodSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { atExit } from "./exit.ts";

/** A new folder, removed when this process ends. Others may look into it, since Postgres runs as another user under root. */
export function tempDir(name: string): string {
  const dir = mkdtempSync(join(tmpdir(), `carillon-${name}-`));
  chmodSync(dir, 0o755);
  atExit(() => rmSync(dir, { recursive: true, force: true, maxRetries: 3 }));
  return dir;
}
