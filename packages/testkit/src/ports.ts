import { createServer } from "node:net";

/**
 * Ports below the range from which Linux takes the local ends of outgoing connections (32768 on): a server that is stopped and
 * started again must find its port free. Test processes run side by side, so each begins at a place of its own.
 */
const first = 20_000;
const count = 12_000;
let next = (process.pid * 97) % count;

/** A TCP port on which nothing listens. No port is given out twice by one process until all were. */
export async function freePort(): Promise<number> {
  for (let tries = 0; tries < count; tries += 1) {
    const port = first + next;
    next = (next + 1) % count;
    if (await isFree(port)) return port;
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
