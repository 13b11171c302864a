import { execFile } from "node:child_process";
import { existsSync, readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { promisify } from "node:util";
import { tempDir } from "@carillon/testkit";

const DEBIAN = "/usr/lib/postgresql";

export interface PgbenchRun {
  readonly url: string;
  readonly sql: string;
  readonly writers: number;
  readonly seconds: number;
}

/** Runs one statement as fast as it goes and returns transactions a second. pgbench spends far less of the machine than a Node client. */
export async function pgbench({ url, sql, writers, seconds }: PgbenchRun): Promise<number> {
  const script = join(tempDir("pgbench"), "script.sql");
  writeFileSync(script, `${sql}\n`);
  const threads = Math.min(writers, 2);
  const args = [
    "-n",
    "-M",
    "prepared",
    "-c",
    String(writers),
    "-j",
    String(threads),
    "-T",
    String(seconds),
    "-f",
    script,
    url,
  ];
  const { stdout } = await promisify(execFile)(program(), args, { maxBuffer: 16 * 2 ** 20 });
  const match = /tps = ([\d.]+)/.exec(stdout);
  if (match === null) throw new Error(`pgbench did not say how fast it was: ${stdout}`);
  return Number(match[1]);
}

function program(): string {
  const onPath = (process.env.PATH ?? "").split(":").map((folder) => join(folder, "pgbench"));
  const versions = existsSync(DEBIAN) ? readdirSync(DEBIAN).sort((a, b) => Number(b) - Number(a)) : [];
  const found = [...versions.map((version) => join(DEBIAN, version, "bin", "pgbench")), ...onPath].find((path) =>
    existsSync(path),
  );
  if (found === undefined) throw new Error("pgbench is needed: install it with `apt-get install postgresql-contrib`");
  return found;
}
