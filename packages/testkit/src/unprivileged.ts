import { readFileSync, statSync } from "node:fs";
import { dirname, resolve } from "node:path";

export interface User {
  uid: number;
  gid: number;
}

/**
 * Postgres and PgBouncer refuse to run as root. Then they run as the user `postgres` where there is one and as `nobody` elsewhere:
 * nobody's machine gets a new account by running tests. Undefined when this process is not root, where nothing has to change.
 */
export function unprivilegedUser(): User | undefined {
  if (process.getuid?.() !== 0) return undefined;
  const accounts = readFileSync("/etc/passwd", "utf8").split("\n");
  for (const name of ["postgres", "nobody"]) {
    const [, , uid, gid] = accounts.find((line) => line.startsWith(`${name}:`))?.split(":") ?? [];
    if (uid !== undefined && gid !== undefined) return { uid: Number(uid), gid: Number(gid) };
  }
  throw new Error(
    "Postgres cannot run as root, and there is neither a user postgres nor a user nobody; run this as another user",
  );
}

/** Whether `user` can walk down to `path`: /root and the folders of mktemp are closed to all but their owner. */
export function isReachable(path: string, user: User | undefined): boolean {
  if (user === undefined) return true;
  for (let dir = resolve(path); ; dir = dirname(dir)) {
    const stat = statSync(dir, { throwIfNoEntry: false });
    if (stat?.isDirectory()) {
      const x = stat.uid === user.uid ? 0o100 : stat.gid === user.gid ? 0o010 : 0o001;
      if ((stat.mode & x) === 0) return false;
    }
    if (dir === dirname(dir)) return true;
  }
}

/** Root's place for what must lie outside of an unreachable folder. Not below /tmp: programs are run from it. */
export const reachableFallback = "/var/lib/carillon";
