import { readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { atExit } from "./exit.ts";

/**
 * Ports below the range from which Linux takes the local ends of outgoing connections (32768 on): a server that is stopped and
 * started again must find its port free. Test processes run side by side, so each begins at a place of its own.
 */
const first = 20_000;
const count = 12_000;
let next = (process.pid * 97) % count;

/**
 * A TCP port on which nothing listens, and which no other process of the tests was given: what is to listen there may take seconds to
 * start. No port is given out twice by one process until all were.
 */
export async function freePort(): Promise<number> {
  for (let tries = 0; tries < count; tries += 1) {
    const port = first + next;
    next = (next + 1) % count;
    if ((await isFree(port)) && claim(port)) return port;
  }
  throw new Error(`no free port between ${first} and ${first + count - 1}`);
}

export function isFree(port: number, host = "127.0.0.1"): Promise<boolean> {
  return new Promise((resolve) => {
    const server = createServer();
    server.once("error", () => resolve(false));
    server.listen({ port, host, exclusive: true }, () => server.close(() => resolve(true)));
  });
}

const claimed = new Set<number>();

/** For as long as this process lives. */
function claim(port: number): boolean {
  if (claimed.has(port)) return true;
  const file = join(tmpdir(), `carillon-port-${port}`);
  try {
    writeFileSync(file, `${process.pid}`, { flag: "wx" });
  } catch {
    // One that a killed process left is removed, and the port given out another time.
    if (!isAlive(file)) rmSync(file, { force: true });
    return false;
  }
  claimed.add(port);
  atExit(() => rmSync(file, { force: true }));
  return true;
}

function isAlive(file: string): boolean {
  try {
    return process.kill(Number(readFileSync(file, "utf8")), 0);
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === "EPERM";
  }
}
