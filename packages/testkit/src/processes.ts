import { type ChildProcess, spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { createInterface } from "node:readline";
import { atExit } from "./exit.ts";
import { waitFor } from "./wait.ts";

export interface ServiceSpec {
  /** For messages: "redis-server on port 20017". */
  name: string;
  command: string;
  args: string[];
  /** The whole environment; default: this process's own. */
  env?: NodeJS.ProcessEnv;
  cwd?: string;
  uid?: number;
  gid?: number;
  /** Asked again and again after the start until it is true. */
  ready: (service: Service) => boolean | Promise<boolean>;
  /** Default 30,000. */
  startTimeoutMs?: number;
  /** What asks the process to end; default SIGTERM. */
  stopSignal?: NodeJS.Signals;
  /** What ends the process when this one is gone; default SIGKILL. Something gentler for what has children of its own. */
  orphanSignal?: NodeJS.Signals;
  onLine?: (line: string) => void;
}

export interface Exit {
  code: number | null;
  signal: NodeJS.Signals | null;
}

const maxLines = 2_000;

/**
 * A program that runs beside this process and can be stopped, killed, frozen and started again.
 *
 * It is in a process group of its own: a Ctrl-C in the terminal reaches this process alone, which then ends its services in the
 * order that it wants. It does not outlive this process, not even when that is killed with SIGKILL (on Linux).
 */
export class Service {
  readonly #spec: ServiceSpec;
  #child: ChildProcess | undefined;
  #exited: Promise<Exit> = Promise.resolve({ code: null, signal: null });
  #exit: Exit | undefined;
  #frozen = false;
  #lines: string[] = [];

  constructor(spec: ServiceSpec) {
    this.#spec = spec;
    atExit(() => this.#signalIfRunning(spec.orphanSignal ?? "SIGKILL"));
  }

  get name(): string {
    return this.#spec.name;
  }

  get pid(): number {
    const pid = this.#child?.pid;
    if (pid === undefined) throw new Error(`${this.name} was never started`);
    return pid;
  }

  get running(): boolean {
    return this.#child?.pid !== undefined && this.#exit === undefined;
  }

  /** Settles when the current run ends; never rejects. */
  get exited(): Promise<Exit> {
    return this.#exited;
  }

  /** What the current run wrote to stdout and stderr; its last 2,000 lines. */
  get output(): string {
    return this.#lines.join("\n");
  }

  /** Resolves when it is ready. Throws, with what it wrote, when it ends before that or takes too long. */
  async start(): Promise<void> {
    if (this.running) throw new Error(`${this.name} is running already`);
    this.#spawn();
    try {
      await waitFor(
        () => {
          if (this.#exit) throw new Error(`${this.name} ended at its start: ${describe(this.#exit)}`);
          return this.#spec.ready(this);
        },
        { what: `${this.name} to be ready`, timeoutMs: this.#spec.startTimeoutMs ?? 30_000, final: true },
      );
    } catch (error) {
      await this.kill();
      throw new Error(`${(error as Error).message}\n${this.#lines.slice(-40).join("\n")}`, { cause: error });
    }
  }

  /** Asks it to end, kills it after `graceMs`. Harmless when it does not run. */
  async stop(graceMs = 15_000): Promise<Exit> {
    return this.kill(this.#spec.stopSignal ?? "SIGTERM", graceMs);
  }

  /** Sends a signal that ends it and resolves when it has ended; after `graceMs` SIGKILL does it. */
  async kill(signal: NodeJS.Signals = "SIGKILL", graceMs = 15_000): Promise<Exit> {
    if (!this.running) return this.#exited;
    this.signal(signal);
    if (this.#frozen) this.thaw(); // a stopped process takes no signal but SIGKILL
    const timer = setTimeout(() => this.#signalIfRunning("SIGKILL"), graceMs);
    try {
      return await this.#exited;
    } finally {
      clearTimeout(timer);
    }
  }

  /** Sends any signal and waits for nothing. */
  signal(signal: NodeJS.Signals): void {
    if (!this.running) throw new Error(`${this.name} is not running`);
    process.kill(this.pid, signal);
  }

  freeze(): void {
    this.signal("SIGSTOP");
    this.#frozen = true;
  }

  thaw(): void {
    this.signal("SIGCONT");
    this.#frozen = false;
  }

  #spawn(): void {
    const { command, args, env, cwd, uid, gid } = this.#spec;
    this.#lines = [];
    this.#exit = undefined;
    this.#frozen = false;
    const [file, argv] = tied(command, args, this.#spec.orphanSignal ?? "SIGKILL");
    const child = spawn(file, argv, {
      stdio: ["ignore", "pipe", "pipe"],
      detached: true,
      ...(env && { env }),
      ...(cwd !== undefined && { cwd }),
      ...(uid !== undefined && { uid }),
      ...(gid !== undefined && { gid }),
    });
    this.#child = child;
    for (const stream of [child.stdout, child.stderr]) {
      createInterface({ input: stream }).on("line", (line) => this.#keep(line));
    }
    this.#exited = new Promise((resolve) => {
      const done = (exit: Exit) => {
        this.#exit ??= exit;
        resolve(this.#exit);
      };
      child.once("error", (error) => {
        this.#keep(String(error));
        done({ code: 127, signal: null });
      });
      child.once("exit", (code, signal) => done({ code, signal }));
    });
  }

  #keep(line: string): void {
    this.#lines.push(line);
    if (this.#lines.length > maxLines) this.#lines.shift();
    this.#spec.onLine?.(line);
  }

  #signalIfRunning(signal: NodeJS.Signals): void {
    if (!this.running) return;
    this.signal(signal);
    if (this.#frozen && signal !== "SIGKILL") this.thaw();
  }
}

function describe({ code, signal }: Exit): string {
  return signal === null ? `exit code ${code}` : `killed by ${signal}`;
}

/**
 * Where util-linux is, the kernel itself ends the process when its parent is gone, however that happened. setpriv replaces itself
 * with the program, so the pid is the program's.
 */
function tied(command: string, args: string[], signal: NodeJS.Signals): [string, string[]] {
  const setpriv = "/usr/bin/setpriv";
  if (process.platform !== "linux" || !existsSync(setpriv)) return [command, args];
  return [setpriv, ["--pdeathsig", signal.replace("SIG", ""), "--", command, ...args]];
}
