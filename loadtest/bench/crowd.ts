import { type ChildProcess, fork } from "node:child_process";
import { fileURLToPath } from "node:url";

const program = fileURLToPath(new URL("./crowd-process.ts", import.meta.url));

export type ClientKind = "socket.io" | "ws" | "sse";

interface CrowdOptions {
  /** Default 400. */
  readonly perSecond?: number;
  /** Default Socket.IO over WebSocket. */
  readonly kind?: ClientKind;
}

/** Clients of one node in a process of their own; they all subscribe to one channel. */
export class Crowd {
  readonly size: number;
  readonly #child: ChildProcess;
  #total = 0;

  private constructor(child: ChildProcess, size: number) {
    this.#child = child;
    this.size = size;
  }

  static async connect(url: string, size: number, channel: string, options: CrowdOptions = {}): Promise<Crowd> {
    const { perSecond = 400, kind = "socket.io" } = options;
    const child = fork(program, { stdio: ["ignore", "inherit", "inherit", "ipc"] });
    const crowd = new Crowd(child, size);
    const connected = crowd.#next("connected", 300_000);
    child.send({ cmd: "connect", url, count: size, channel, perSecond, kind });
    await connected;
    return crowd;
  }

  /** Resolves once every client has received `events` more. */
  async receive(events: number): Promise<void> {
    this.#total += events * this.size;
    const reached = this.#next("received", 120_000);
    this.#child.send({ cmd: "expect", total: this.#total });
    await reached;
  }

  close(): Promise<void> {
    return new Promise((resolve) => {
      this.#child.once("exit", () => resolve());
      this.#child.send({ cmd: "close" });
    });
  }

  #next(what: string, timeoutMs: number): Promise<void> {
    return new Promise((resolve, reject) => {
      const timer = setTimeout(
        () => reject(new Error(`the clients did not report "${what}" within ${timeoutMs} ms`)),
        timeoutMs,
      );
      const onMessage = (message: object) => {
        if (what in message) settle(resolve);
      };
      const onExit = () => settle(() => reject(new Error("the clients' process ended")));
      const settle = (outcome: () => void) => {
        clearTimeout(timer);
        this.#child.off("message", onMessage).off("exit", onExit);
        outcome();
      };
      this.#child.on("message", onMessage).on("exit", onExit);
    });
  }
}
