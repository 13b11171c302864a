import { CarillonError } from "@carillon/protocol";
import { redactText } from "./redact.ts";

export interface Check {
  /** `down`: this node can't do its work and gets no traffic. `degraded`: it works, but something is away. */
  readonly status: "ok" | "degraded" | "down";
  /** For operators; redacted before it is shown. */
  readonly reason?: string;
}

export type NodeState = "starting" | "ready" | "draining";

export interface Readiness {
  readonly status: "ok" | "degraded" | "down";
  readonly checks: Readonly<Record<string, Check>>;
}

interface Registered {
  readonly run: () => Check | Promise<Check>;
  readonly whenSilent: "degraded" | "down";
}

/** An answer is due within a second even when a dependency hangs. */
const CHECK_TIMEOUT_MS = 700;
const MAX_REASON = 200;

/**
 * Readiness from named checks. Liveness is not here on purpose: an orchestrator that restarts nodes because Redis is away makes
 * an outage worse.
 */
export class Health {
  readonly #checks = new Map<string, Registered>();
  readonly #timeoutMs: number;
  #state: NodeState = "starting";
  #running: Promise<Readiness> | undefined;

  constructor(options: { readonly timeoutMs?: number } = {}) {
    this.#timeoutMs = options.timeoutMs ?? CHECK_TIMEOUT_MS;
  }

  get state(): NodeState {
    return this.#state;
  }

  /** Draining is final. */
  enter(state: NodeState): void {
    if (this.#state !== "draining") this.#state = state;
  }

  /** `whenSilent` is what a check that hangs or throws counts as. */
  add(name: string, whenSilent: "degraded" | "down", run: () => Check | Promise<Check>): void {
    this.#checks.set(name, { run, whenSilent });
  }

  /** Callers at the same time share one run, so that probes can't pile up on a hanging dependency. */
  readiness(): Promise<Readiness> {
    this.#running ??= this.#run().finally(() => {
      this.#running = undefined;
    });
    return this.#running;
  }

  async #run(): Promise<Readiness> {
    const names = [...this.#checks.keys()];
    const results = await Promise.all([...this.#checks.values()].map((check) => this.#one(check)));
    const checks: Record<string, Check> = { node: nodeCheck(this.#state) };
    names.forEach((name, i) => {
      checks[name] = results[i] ?? { status: "down" };
    });
    const found = Object.values(checks).map((check) => check.status);
    const status = found.includes("down") ? "down" : found.includes("degraded") ? "degraded" : "ok";
    return { status, checks };
  }

  async #one(check: Registered): Promise<Check> {
    let timer: NodeJS.Timeout | undefined;
    const silent = new Promise<Check>((resolve) => {
      timer = setTimeout(
        () => resolve({ status: check.whenSilent, reason: `no answer in ${this.#timeoutMs} ms` }),
        this.#timeoutMs,
      );
    });
    try {
      const { status, reason } = await Promise.race([Promise.resolve().then(check.run), silent]);
      return reason === undefined ? { status } : { status, reason: redactText(reason).slice(0, MAX_REASON) };
    } catch (error) {
      // Only our own messages are fit to be shown; a driver's may hold hosts and credentials.
      const reason =
        error instanceof CarillonError ? redactText(error.message).slice(0, MAX_REASON) : "the check failed";
      return { status: check.whenSilent, reason };
    } finally {
      clearTimeout(timer);
    }
  }
}

function nodeCheck(state: NodeState): Check {
  if (state === "ready") return { status: "ok" };
  return { status: "down", reason: state };
}
