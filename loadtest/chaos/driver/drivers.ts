/** The driver processes, as one crowd of clients. */
import { type ChildProcess, fork } from "node:child_process";
import { fileURLToPath } from "node:url";
import { waitFor } from "@carillon/testkit";
import type { ClientHistory } from "../checker/histories.ts";
import type { Begin, ClientSpec, Command, Progress, Report } from "./messages.ts";

const clientsPerProcess = 150;
const main = fileURLToPath(new URL("./main.ts", import.meta.url));

interface Driver {
  readonly child: ChildProcess;
  readonly specs: readonly ClientSpec[];
  readonly histories: ClientHistory[];
  progress: Progress | undefined;
  ended: boolean;
}

export class Drivers {
  readonly #drivers: Driver[];

  constructor(specs: readonly ClientSpec[]) {
    const processes = Math.max(Math.ceil(specs.length / clientsPerProcess), 2);
    this.#drivers = Array.from({ length: processes }, (_, index) =>
      startDriver(specs.filter((_, at) => at % processes === index)),
    );
  }

  /** Resolves once every client is where publications reach it. */
  async begin(options: Omit<Begin, "command" | "clients">): Promise<void> {
    for (const { child, specs } of this.#drivers)
      child.send({ command: "begin", clients: specs, ...options } satisfies Command);
    const total = this.specs.length;
    await waitFor(() => this.progress.begun === total, {
      what: "every client to be connected and subscribed",
      timeoutMs: 60_000 + total * 20,
      everyMs: 50,
    });
  }

  get specs(): readonly ClientSpec[] {
    return this.#drivers.flatMap((driver) => driver.specs);
  }

  /** Of all of them, as of a moment ago. */
  get progress(): Progress {
    const all = this.#drivers.flatMap(({ progress }) => progress ?? []);
    const sum = (key: "connected" | "begun" | "heard" | "gaps" | "done") =>
      all.reduce((total, one) => total + one[key], 0);
    return {
      kind: "progress",
      connected: sum("connected"),
      begun: sum("begun"),
      heard: sum("heard"),
      gaps: sum("gaps"),
      done: sum("done"),
      waiting: all.flatMap(({ waiting }) => waiting),
    };
  }

  tell(command: Command): void {
    for (const { child } of this.#drivers) if (child.connected) child.send(command);
  }

  /** Nothing in them runs until `thaw`: no client reads, and none notices that it doesn't. */
  freeze(): void {
    for (const { child } of this.#drivers) child.kill("SIGSTOP");
  }

  thaw(): void {
    for (const { child } of this.#drivers) child.kill("SIGCONT");
  }

  /** Ends them; resolves with what their clients heard. */
  async finish(): Promise<ClientHistory[]> {
    this.tell({ command: "finish" });
    await waitFor(() => this.#drivers.every(({ ended }) => ended), {
      what: "the drivers to hand over what they heard",
      timeoutMs: 120_000,
      everyMs: 20,
    });
    this.stop();
    return this.#drivers.flatMap(({ histories }) => histories);
  }

  stop(): void {
    for (const { child } of this.#drivers) child.kill("SIGKILL");
  }
}

function startDriver(specs: readonly ClientSpec[]): Driver {
  const child = fork(main, { serialization: "advanced" });
  const driver: Driver = { child, specs, histories: [], progress: undefined, ended: false };
  child.on("message", (report: Report) => {
    if (report.kind === "progress") driver.progress = report;
    else if (report.kind === "history") driver.histories.push(report.history);
    else driver.ended = true;
  });
  return driver;
}
