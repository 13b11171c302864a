import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { freePort } from "./ports.ts";
import type { PostgresServer } from "./postgres.ts";
import { Service } from "./processes.ts";
import { tempDir } from "./temp.ts";
import { unprivilegedUser } from "./unprivileged.ts";

export interface PgBouncerServer {
  port: number;
  /** The same database as `postgres.url`, through the pooler; `databaseUrl(url, name)` names another one. */
  url: string;
  start(): Promise<void>;
  stop(): Promise<void>;
  kill(): Promise<void>;
}

export async function startPgBouncer(
  postgres: Pick<PostgresServer, "port">,
  mode: "transaction" | "session",
): Promise<PgBouncerServer> {
  const port = await freePort();
  const config = join(tempDir("pgbouncer"), "pgbouncer.ini");
  await writeFile(
    config,
    [
      "[databases]",
      `* = host=127.0.0.1 port=${postgres.port} user=postgres`,
      "[pgbouncer]",
      "listen_addr = 127.0.0.1",
      `listen_port = ${port}`,
      "unix_socket_dir =",
      "auth_type = any",
      `pool_mode = ${mode}`,
      "max_client_conn = 200",
      "default_pool_size = 50",
      "ignore_startup_parameters = extra_float_digits",
    ].join("\n"),
  );
  const service = new Service({
    name: `pgbouncer on port ${port}`,
    command: "pgbouncer",
    args: [config],
    ...unprivilegedUser(),
    ready: ({ output }) => output.includes("process up"),
    stopSignal: "SIGTERM", // at once, without waiting for clients
  });
  await service.start();
  return {
    port,
    url: `postgres://postgres@127.0.0.1:${port}/postgres`,
    start: () => service.start(),
    stop: async () => void (await service.stop()),
    kill: async () => void (await service.kill()),
  };
}
