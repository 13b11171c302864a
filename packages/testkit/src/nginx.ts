import { existsSync } from "node:fs";
import { mkdir, writeFile } from "node:fs/promises";
import { connect } from "node:net";
import { join } from "node:path";
import { freePort } from "./ports.ts";
import { Service } from "./processes.ts";
import { tempDir } from "./temp.ts";

export interface NginxServer {
  port: number;
  url: string;
  pid: number;
  /** The error log, and the access log where the configuration writes it to /dev/stdout. */
  output: string;
  /** Has it read its configuration again, a new one where given. */
  reload(configText?: string): Promise<void>;
  start(): Promise<void>;
  stop(): Promise<void>;
  kill(): Promise<void>;
}

/**
 * `config` gets the port to listen on and answers with what stands inside `http { … }`, or with a whole configuration, which must
 * then say neither `daemon` nor `pid`.
 */
export async function startNginx(
  config: (port: number) => string,
  { port: wanted, dir = tempDir("nginx") }: { port?: number; dir?: string } = {},
): Promise<NginxServer> {
  const port = wanted ?? (await freePort());
  const file = join(dir, "nginx.conf");
  await mkdir(dir, { recursive: true });
  await writeFile(file, whole(config(port), dir));
  const service = new Service({
    name: `nginx on port ${port}`,
    command: existsSync("/usr/sbin/nginx") ? "/usr/sbin/nginx" : "nginx", // Debian keeps it where only root's PATH looks
    args: ["-p", dir, "-e", "stderr", "-c", file, "-g", `daemon off; pid ${join(dir, "nginx.pid")};`],
    ready: () => accepts(port),
    orphanSignal: "SIGTERM", // its workers would survive a SIGKILL of their master
  });
  await service.start();
  return {
    port,
    url: `http://127.0.0.1:${port}`,
    get pid() {
      return service.pid;
    },
    get output() {
      return service.output;
    },
    async reload(configText) {
      if (configText !== undefined) await writeFile(file, whole(configText, dir));
      service.signal("SIGHUP");
    },
    start: () => service.start(),
    stop: async () => void (await service.stop()),
    async kill() {
      process.kill(-service.pid, "SIGKILL"); // the workers too
      await service.exited;
    },
  };
}

function whole(config: string, dir: string): string {
  if (/^\s*http\s*\{/m.test(config)) return config;
  const temp = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"].map((name) => `${name}_temp_path ${dir}/${name};`);
  return [
    ...(process.getuid?.() === 0 ? ["user root;"] : []), // its workers read and write below `dir`
    "worker_processes 1;",
    "events { worker_connections 4096; }",
    "http {",
    "access_log off;",
    ...temp,
    config,
    "}",
  ].join("\n");
}

function accepts(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(port, "127.0.0.1");
    socket.once("connect", () => resolve(true)).once("error", () => resolve(false));
    socket.once("connect", () => socket.destroy());
  });
}
