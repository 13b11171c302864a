import { fileURLToPath } from "node:url";
import { api } from "./http.ts";
import { type Exit, Service } from "./processes.ts";

export interface LogLine {
  level?: unknown;
  msg?: string;
  [key: string]: unknown;
}

const main = fileURLToPath(new URL("../../server/src/main.ts", import.meta.url));
const maxLogs = 10_000;

/** One Carillon node as a process of its own. */
export class NodeServer {
  /** The last 10,000 JSON lines that it wrote, of all its runs. */
  readonly logs: LogLine[] = [];
  readonly #service: Service;
  #port: number | undefined;

  constructor(env: Record<string, string>, { onLine }: { onLine?: (line: string) => void } = {}) {
    // Only what is given: a variable of the developer's own shell must not decide over a test.
    const defaults = { AUTH: "off", HOST: "127.0.0.1", PORT: "0", LOG_LEVEL: "info" };
    const { PATH = "", HOME = "" } = process.env;
    this.#service = new Service({
      name: "the node",
      command: process.execPath,
      args: [main],
      env: { PATH, HOME, ...defaults, ...env },
      ready: () => this.#port !== undefined,
      onLine: (line) => {
        this.#keep(line);
        onLine?.(line);
      },
    });
  }

  /** Where it listens; another one after each start, unless PORT was set. */
  get port(): number {
    if (this.#port === undefined) throw new Error("the node does not listen");
    return this.#port;
  }

  get url(): string {
    return `http://127.0.0.1:${this.port}`;
  }

  get pid(): number {
    return this.#service.pid;
  }

  get running(): boolean {
    return this.#service.running;
  }

  /** Settles when this run ends. */
  get exited(): Promise<Exit> {
    return this.#service.exited;
  }

  /** Everything that it wrote, whether JSON or not: the last 2,000 lines of this run. */
  get output(): string {
    return this.#service.output;
  }

  async start(): Promise<void> {
    this.#port = undefined;
    await this.#service.start();
  }

  /** SIGTERM; resolves when it has ended. 30 s for its drain, then SIGKILL. */
  stop(graceMs = 30_000): Promise<Exit> {
    return this.#service.stop(graceMs);
  }

  /** SIGKILL by default; resolves when it has ended. */
  kill(signal: NodeJS.Signals = "SIGKILL"): Promise<Exit> {
    return this.#service.kill(signal);
  }

  freeze(): void {
    this.#service.freeze();
  }

  thaw(): void {
    this.#service.thaw();
  }

  healthz() {
    return api(this.url).get("/healthz");
  }

  readyz() {
    return api(this.url).get("/readyz");
  }

  async metrics(): Promise<string> {
    return (await api(this.url).get("/metrics")).text;
  }

  /** The sum over the series that have these labels, 0 when there are none yet. A name that /metrics never mentions is an error. */
  async metric(name: string, labels: Record<string, string> = {}): Promise<number> {
    return sumOf(await this.metrics(), name, labels);
  }

  #keep(line: string): void {
    if (!line.startsWith("{")) return;
    let log: LogLine;
    try {
      log = JSON.parse(line) as LogLine;
    } catch {
      return;
    }
    this.logs.push(log);
    if (this.logs.length > maxLogs) this.logs.shift();
    if (log.msg === "listening" && typeof log.port === "number") this.#port ??= log.port;
  }
}

/** `env` is all it gets, beside PATH, HOME and the defaults AUTH=off HOST=127.0.0.1 PORT=0 LOG_LEVEL=info. */
export async function startNode(env: Record<string, string> = {}): Promise<NodeServer> {
  const node = new NodeServer(env);
  await node.start();
  return node;
}

/** Reads the Prometheus text format. */
export function sumOf(text: string, name: string, labels: Record<string, string> = {}): number {
  const lines = text.split("\n");
  if (
    !lines.some(
      (line) => line.startsWith(`# TYPE ${name} `) || line.startsWith(`${name}{`) || line.startsWith(`${name} `),
    )
  ) {
    throw new Error(`/metrics has no ${name}`);
  }
  let sum = 0;
  for (const line of lines) {
    const [, metric, series = "", value] = /^([\w:]+)(?:\{(.*)\})? (\S+)/.exec(line) ?? [];
    if (metric !== name) continue;
    const has = Object.fromEntries(
      [...series.matchAll(/(\w+)="((?:[^"\\]|\\.)*)"/g)].map(([, key, text]) => [key, text]),
    );
    if (Object.entries(labels).every(([key, wanted]) => has[key] === wanted)) sum += Number(value);
  }
  return sum;
}
