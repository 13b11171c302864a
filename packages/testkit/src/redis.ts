import { readFileSync, rmSync } from "node:fs";
import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { type CommonRedisOptions, Redis } from "ioredis";
import { certificateIn } from "./certificate.ts";
import { freePort } from "./ports.ts";
import { Service } from "./processes.ts";
import { tempDir } from "./temp.ts";

export interface StartRedisOptions {
  /** When the append-only file is flushed to disk, or "no" for none at all (the default): then a restart begins empty. */
  appendonly?: "always" | "everysec" | "no";
  /** Snapshots, also one at a stop; default off. */
  rdb?: boolean;
  port?: number;
  /** Default: a temporary folder. */
  dir?: string;
  password?: string;
  /** TLS only, with a certificate of its own for 127.0.0.1 and localhost, in `caFile`. */
  tls?: boolean;
  /** More arguments for redis-server: `["--maxmemory", "10mb"]`. */
  args?: string[];
}

export class RedisServer {
  readonly port: number;
  readonly dir: string;
  readonly url: string;
  readonly password: string | undefined;
  /** PEM file of the authority to trust, with `tls` only. */
  readonly caFile: string | undefined;
  readonly #service: Service;

  constructor(port: number, dir: string, options: StartRedisOptions) {
    this.port = port;
    this.dir = dir;
    this.password = options.password;
    this.caFile = options.tls ? join(dir, "tls", "cert.pem") : undefined;
    const secret = options.password === undefined ? "" : `:${encodeURIComponent(options.password)}@`;
    this.url = `${options.tls ? "rediss" : "redis"}://${secret}127.0.0.1:${port}`;
    this.#service = new Service({
      name: `redis-server on port ${port}`,
      command: "redis-server",
      args: redisArgs(port, dir, options),
      ready: (service) => service.output.includes("Ready to accept connections"),
    });
  }

  get pid(): number {
    return this.#service.pid;
  }

  get running(): boolean {
    return this.#service.running;
  }

  get output(): string {
    return this.#service.output;
  }

  /** Starts it again, on the same port with the same data. */
  async start(): Promise<void> {
    await mkdir(this.dir, { recursive: true });
    if (this.caFile !== undefined) certificateIn(join(this.dir, "tls"));
    await this.#service.start();
  }

  async stop(): Promise<void> {
    await this.#service.stop();
  }

  async kill(signal: NodeJS.Signals = "SIGKILL"): Promise<void> {
    await this.#service.kill(signal);
  }

  /** Stops it without saving, forgets its data and starts it. */
  async wipe(): Promise<void> {
    await this.kill();
    for (const data of ["appendonlydir", "dump.rdb"]) rmSync(join(this.dir, data), { recursive: true, force: true });
    await this.start();
  }

  /** Connections stay open and nothing answers, until `thaw`. */
  freeze(): void {
    this.#service.freeze();
  }

  thaw(): void {
    this.#service.thaw();
  }

  /** A connection that comes back by itself; the caller disconnects it. */
  client(options: Omit<CommonRedisOptions, "replyMapping"> = {}): Redis {
    const client = new Redis(this.url, {
      maxRetriesPerRequest: null,
      retryStrategy: () => 50,
      ...(this.caFile !== undefined && { tls: { ca: readFileSync(this.caFile) } }),
      ...options,
    });
    client.on("error", () => {}); // tests stop the server on purpose
    return client;
  }
}

export async function startRedis(options: StartRedisOptions = {}): Promise<RedisServer> {
  const server = new RedisServer(options.port ?? (await freePort()), options.dir ?? tempDir("redis"), options);
  await server.start();
  return server;
}

function redisArgs(port: number, dir: string, options: StartRedisOptions): string[] {
  const { appendonly = "no", rdb = false, password, tls = false, args = [] } = options;
  const certificate = ["cert-file", "key-file", "ca-cert-file"].flatMap((name) => [
    `--tls-${name}`,
    join(dir, "tls", name === "key-file" ? "key.pem" : "cert.pem"),
  ]);
  return [
    ...(tls
      ? ["--port", "0", "--tls-port", `${port}`, "--tls-auth-clients", "no", ...certificate]
      : ["--port", `${port}`]),
    ...["--bind", "127.0.0.1", "--dir", dir],
    ...["--save", rdb ? "60 1" : ""],
    ...(appendonly === "no" ? ["--appendonly", "no"] : ["--appendonly", "yes", "--appendfsync", appendonly]),
    ...(password === undefined ? [] : ["--requirepass", password]),
    ...args,
  ];
}
