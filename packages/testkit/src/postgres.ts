import { execFile } from "node:child_process";
import { randomBytes } from "node:crypto";
import { chownSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync, statSync } from "node:fs";
import { join } from "node:path";
import { promisify } from "node:util";
import pg from "pg";
import { certificateIn } from "./certificate.ts";
import { freePort } from "./ports.ts";
import { postgresBin } from "./postgres-binaries.ts";
import { Service } from "./processes.ts";
import { tempDir } from "./temp.ts";
import { type User, unprivilegedUser } from "./unprivileged.ts";
import { waitFor } from "./wait.ts";

export interface StartPostgresOptions {
  port?: number;
  /** Where the data stays; default: a temporary folder. Made when it is not there. */
  dataDir?: string;
  /** Whether a commit survives the machine's crash; off by default since tests only crash Postgres, which loses nothing. */
  fsync?: boolean;
  /** Settings as in postgresql.conf: `{ wal_level: "logical" }`. */
  settings?: Record<string, string | number>;
  /** Offers TLS with a certificate of its own for 127.0.0.1 and localhost, in `caFile`. `url` says nothing of it. */
  tls?: boolean;
}

export class PostgresServer {
  readonly port: number;
  readonly dataDir: string;
  /** The database `postgres`, as its superuser; no password, since it listens on 127.0.0.1 alone. */
  readonly url: string;
  /** PEM file of the authority to trust, with `tls` only. */
  readonly caFile: string | undefined;
  readonly #service: Service;
  readonly #user: User | undefined;
  readonly #bin = postgresBin();

  constructor(port: number, dataDir: string, options: StartPostgresOptions) {
    this.port = port;
    this.dataDir = dataDir;
    this.url = `postgres://postgres@127.0.0.1:${port}/postgres`;
    this.#user = ownerOf(dataDir) ?? unprivilegedUser();
    this.caFile = options.tls === true ? join(`${dataDir}-tls`, "cert.pem") : undefined;
    const settings = {
      listen_addresses: "127.0.0.1",
      port,
      unix_socket_directories: "",
      max_connections: 200,
      ...(options.fsync !== true && { fsync: "off", full_page_writes: "off" }),
      ...(options.tls === true && this.#certificate()),
      ...options.settings,
    };
    this.#service = new Service({
      name: `postgres on port ${port}`,
      command: join(this.#bin, "postgres"),
      args: ["-D", dataDir, ...Object.entries(settings).flatMap(([name, value]) => ["-c", `${name}=${value}`])],
      cwd: "/",
      ...this.#user,
      ready: (service) => service.output.includes("database system is ready to accept connections"),
      startTimeoutMs: 60_000,
      stopSignal: "SIGINT", // "fast": does not wait for clients to leave
      orphanSignal: options.fsync === true ? "SIGINT" : "SIGQUIT",
    });
  }

  /** The postmaster's. */
  get pid(): number {
    return this.#service.pid;
  }

  get running(): boolean {
    return this.#service.running;
  }

  get output(): string {
    return this.#service.output;
  }

  /** Starts it (again), on the same port with the same data, which it makes first where there are none. */
  async start(): Promise<void> {
    if (!existsSync(join(this.dataDir, "PG_VERSION"))) await this.#initialise();
    await clearLock(this.dataDir);
    await waitFor(
      async () => {
        try {
          await this.#service.start();
          return true;
        } catch (error) {
          // The children of a killed postmaster need a moment to notice.
          if (/pre-existing shared memory block|could not bind/.test(String(error))) return false;
          throw error;
        }
      },
      { what: `postgres on port ${this.port} to start`, timeoutMs: 90_000, everyMs: 100, final: true },
    );
  }

  async stop(): Promise<void> {
    await this.#service.stop();
  }

  /** "fast" ends the sessions and writes a checkpoint; "immediate" is a crash with recovery at the next start. */
  async restart(mode: "fast" | "immediate" = "fast"): Promise<void> {
    await this.#service.kill(mode === "fast" ? "SIGINT" : "SIGQUIT");
    await this.start();
  }

  /** SIGKILL by default, to the postmaster; its children follow by themselves. */
  async kill(signal: NodeJS.Signals = "SIGKILL"): Promise<void> {
    await this.#service.kill(signal);
  }

  /** Stops the postmaster and every backend in their tracks: connections stay open and nothing answers, until `thaw`. */
  freeze(): void {
    this.#service.freeze();
    for (const pid of childrenOf(this.pid)) process.kill(pid, "SIGSTOP");
  }

  thaw(): void {
    for (const pid of childrenOf(this.pid)) process.kill(pid, "SIGCONT");
    this.#service.thaw();
  }

  /** A connection of its own for each call, so that it works right after a restart. */
  async query<Row extends pg.QueryResultRow = Record<string, unknown>>(
    sql: string,
    params: unknown[] = [],
    url: string = this.url,
  ): Promise<Row[]> {
    return queryAt<Row>(url, sql, params);
  }

  createDatabase(name?: string, template?: string): Promise<string> {
    return createDatabase(this.url, name, template);
  }

  createTemplate(name: string, prepare: (url: string) => Promise<void>): Promise<string> {
    return createTemplate(this.url, name, prepare);
  }

  /** Postgres reads only a key that it owns. */
  #certificate(): Record<string, string> {
    const { certFile, keyFile } = certificateIn(`${this.dataDir}-tls`);
    if (this.#user) chownSync(keyFile, this.#user.uid, this.#user.gid);
    return { ssl: "on", ssl_cert_file: certFile, ssl_key_file: keyFile };
  }

  async #initialise(): Promise<void> {
    mkdirSync(this.dataDir, { recursive: true });
    if (this.#user) chownSync(this.dataDir, this.#user.uid, this.#user.gid);
    const locale = ["--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--encoding=UTF8"];
    const args = ["-D", this.dataDir, "--username=postgres", "--auth=trust", "--no-sync", ...locale];
    // It looks for its neighbours in the working directory first, which this user may not be able to enter.
    await promisify(execFile)(join(this.#bin, "initdb"), args, { cwd: "/", timeout: 120_000, ...this.#user });
  }
}

export async function startPostgres(options: StartPostgresOptions = {}): Promise<PostgresServer> {
  const dataDir = options.dataDir ?? join(tempDir("postgres"), "data");
  const server = new PostgresServer(options.port ?? (await freePort()), dataDir, options);
  await server.start();
  return server;
}

/** Makes a database beside the one that `url` names, as a copy of `template` where given, and resolves with its URL. */
export async function createDatabase(url: string, name = `test_${randomBytes(6).toString("hex")}`, template?: string) {
  await queryAt(
    url,
    `create database ${pg.escapeIdentifier(name)}${template ? ` template ${pg.escapeIdentifier(template)}` : ""}`,
  );
  return databaseUrl(url, name);
}

/** Makes the database `name` and has `prepare` fill it, once: then `createDatabase(url, undefined, name)` copies it in no time. */
export async function createTemplate(
  url: string,
  name: string,
  prepare: (url: string) => Promise<void>,
): Promise<string> {
  const admin = new pg.Client(url);
  await admin.connect();
  try {
    // Test files run side by side: the first makes it, the others wait here.
    await admin.query("select pg_advisory_lock(hashtext($1))", [name]);
    const { rowCount } = await admin.query("select from pg_database where datname = $1 and datistemplate", [name]);
    if (rowCount === 0) {
      await admin.query(`drop database if exists ${pg.escapeIdentifier(name)}`);
      await admin.query(`create database ${pg.escapeIdentifier(name)}`);
      await prepare(databaseUrl(url, name));
      await admin.query(`alter database ${pg.escapeIdentifier(name)} is_template true`);
    }
  } finally {
    await admin.end();
  }
  return name;
}

export function databaseUrl(url: string, name: string): string {
  const other = new URL(url);
  other.pathname = `/${encodeURIComponent(name)}`;
  return other.href;
}

export async function queryAt<Row extends pg.QueryResultRow = Record<string, unknown>>(
  url: string,
  sql: string,
  params: unknown[] = [],
): Promise<Row[]> {
  const client = new pg.Client({ connectionString: url, connectionTimeoutMillis: 10_000 });
  client.on("error", () => {}); // the query says it too
  await client.connect();
  try {
    const result = await (params.length > 0 ? client.query<Row>(sql, params) : client.query<Row>(sql));
    // Several statements without parameters answer with several results; the last one counts.
    const last = Array.isArray(result) ? (result.at(-1) as pg.QueryResult<Row>) : result;
    return last.rows;
  } finally {
    await client.end().catch(() => {});
  }
}

/** A connection that stays, for transactions and for many statements; the caller ends it. */
export async function connectSql(url: string): Promise<pg.Client> {
  const client = new pg.Client({ connectionString: url, connectionTimeoutMillis: 10_000 });
  client.on("error", () => {}); // the query says it too
  await client.connect();
  return client;
}

/** Data that another start left keeps its owner, even where another user would be chosen today. */
function ownerOf(dir: string): User | undefined {
  const stat = statSync(dir, { throwIfNoEntry: false });
  return process.getuid?.() === 0 && stat !== undefined && stat.uid !== 0
    ? { uid: stat.uid, gid: stat.gid }
    : undefined;
}

/**
 * Postgres itself overrules the lock file of a process that is gone, but not one whose number another program has by now, as in
 * containers, where numbers are small and come back. One that is just stopping gets the time to do so.
 */
async function clearLock(dataDir: string): Promise<void> {
  const file = join(dataDir, "postmaster.pid");
  if (!existsSync("/proc/self")) return;
  const holder = () => {
    if (!existsSync(file)) return undefined;
    const pid = readFileSync(file, "utf8").split("\n", 1)[0]?.trim();
    const command = existsSync(`/proc/${pid}`) ? readFileSync(`/proc/${pid}/cmdline`, "utf8") : "";
    return { pid, isOurs: command.includes("postgres") && command.includes(dataDir), isOther: command !== "" };
  };
  await waitFor(() => holder()?.isOurs !== true, {
    what: `another Postgres with these data to end (${dataDir}; \`kill -INT ${holder()?.pid}\` ends it)`,
  });
  if (holder()?.isOther) rmSync(file);
}

function childrenOf(pid: number): number[] {
  const tasks = `/proc/${pid}/task`;
  return readdirSync(tasks)
    .flatMap((task) => readFileSync(join(tasks, task, "children"), "utf8").split(" "))
    .filter((child) => child.trim() !== "")
    .map(Number);
}
