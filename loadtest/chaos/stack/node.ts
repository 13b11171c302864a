/**
 * One node of the cluster under test, with network links of its own to Redis and Postgres that can be broken, and a supervisor
 * that starts it again when it ends by itself, as systemd or Docker would.
 */
import { fileURLToPath } from "node:url";
import { NodeServer, Service } from "@carillon/testkit";

export type StackKind = "carillon" | "stock";

export interface ChaosNodeOptions {
  readonly name: string;
  readonly kind: StackKind;
  readonly port: number;
  readonly env: Record<string, string>;
}

type Program = Pick<
  NodeServer,
  "start" | "stop" | "kill" | "freeze" | "thaw" | "running" | "exited" | "output" | "pid"
>;

const stockMain = fileURLToPath(new URL("../baseline/main.ts", import.meta.url));
const restartMs = 500;
const maxLines = 5_000;

export class ChaosNode {
  readonly name: string;
  readonly port: number;
  /** Times that it ended though nobody had asked it to. */
  deaths = 0;
  /** What it wrote, of all its runs: the last 5,000 lines. */
  readonly lines: string[] = [];
  readonly #program: Program;
  #wanted = false;

  constructor({ name, kind, port, env }: ChaosNodeOptions) {
    this.name = name;
    this.port = port;
    const onLine = (line: string) => {
      this.lines.push(line);
      if (this.lines.length > maxLines) this.lines.shift();
    };
    const whole = { ...env, PORT: `${port}` };
    this.#program = kind === "carillon" ? new NodeServer(whole, { onLine }) : stockNode(whole, onLine);
  }

  get running(): boolean {
    return this.#program.running;
  }

  async start(): Promise<void> {
    this.#wanted = true;
    await this.#program.start();
    void this.#program.exited.then(({ code, signal }) => this.#ended(code, signal));
  }

  /** SIGTERM, and what follows from it. */
  async stop(): Promise<void> {
    this.#wanted = false;
    await this.#program.stop();
  }

  async kill(): Promise<void> {
    this.#wanted = false;
    await this.#program.kill("SIGKILL");
  }

  freeze(): void {
    if (this.running) this.#program.freeze();
  }

  thaw(): void {
    if (this.running) this.#program.thaw();
  }

  #ended(code: number | null, signal: string | null): void {
    if (!this.#wanted) return;
    this.deaths++;
    this.lines.push(`{"msg":"chaos: ended by itself","code":${code},"signal":"${signal}"}`);
    setTimeout(() => {
      if (this.#wanted && !this.running) this.start().catch(() => this.#ended(null, null));
    }, restartMs);
  }
}

function stockNode(env: Record<string, string>, onLine: (line: string) => void): Program {
  const { PATH = "", HOME = "" } = process.env;
  return new Service({
    name: "the stock node",
    command: process.execPath,
    args: [stockMain],
    env: { PATH, HOME, ...env },
    ready: ({ output }) => output.includes('"msg":"listening"'),
    onLine,
  });
}
