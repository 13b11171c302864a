/**
 * Connections that are waited for until they have read what they were sent: each tells when its transport can send again, and one
 * timer looks after all, since a transport can be replaced by another or close.
 *
 * Whoever stays behind longer than the log reaches can't be repaired any more: it is closed, so that it holds nothing here, and
 * its client comes back and is told.
 */
import type { Log, Logger, Meter } from "@carillon/core";
import { type Position, parseId } from "@carillon/protocol";
import type { Connection } from "./connection.ts";

export interface LaggardsOptions {
  readonly log: Pick<Log, "read">;
  /** Whether the node has everything after a position in memory; then the log need not be asked. */
  readonly inMemory: (position: Position) => boolean;
  readonly here: () => Position | undefined;
  readonly meter: Meter;
  readonly logger: Logger;
  readonly checkMs?: number;
}

const CHECK_MS = 100;
const REACH_CHECK_MS = 5000;

export class Laggards {
  readonly #options: LaggardsOptions;
  readonly #waiting = new Map<Connection, () => void>();
  #timer: NodeJS.Timeout | undefined;
  #reachCheckedAt = performance.now();
  #checkingReach = false;

  constructor(options: LaggardsOptions) {
    this.#options = options;
  }

  get size(): number {
    return this.#waiting.size;
  }

  /** Resolves once the connection has read everything, or is closed. */
  async drained(connection: Connection): Promise<void> {
    if (connection.state === "closed" || connection.transport.drained) return;
    await new Promise<void>((resolve) => {
      const stopListening = connection.transport.onReady(() => this.#checkOne(connection));
      this.#waiting.set(connection, () => {
        this.#waiting.delete(connection);
        stopListening();
        resolve();
      });
      this.#timer ??= setInterval(() => this.#check(), this.#options.checkMs ?? CHECK_MS);
    });
  }

  #checkOne(connection: Connection): void {
    if (connection.state === "closed" || connection.transport.drained) this.#waiting.get(connection)?.();
  }

  #check(): void {
    for (const connection of this.#waiting.keys()) this.#checkOne(connection);
    if (this.#waiting.size === 0) {
      clearInterval(this.#timer);
      this.#timer = undefined;
    } else if (performance.now() - this.#reachCheckedAt >= REACH_CHECK_MS) void this.#checkReach();
  }

  /** One read of the log for all. Positions of another epoch are told a gap when they have read on, not closed: Redis' death disconnects nobody. */
  async #checkReach(): Promise<void> {
    const { log, inMemory, here, meter, logger } = this.#options;
    const current = here();
    if (this.#checkingReach || current === undefined) return;
    this.#checkingReach = true;
    try {
      if ([...this.#waiting.keys()].every(({ position }) => inMemory(position))) return;
      const { entries } = await log.read({ epoch: current.epoch, n: 0 }, 1);
      const oldest = entries[0] === undefined ? undefined : parseId(entries[0].id);
      if (oldest === undefined) return;
      for (const connection of this.#waiting.keys()) {
        const { position } = connection;
        if (position.epoch !== oldest.epoch || position.n + 1 >= oldest.n) continue;
        meter.count("slowClosed");
        logger.info(
          { namespace: connection.style.namespace },
          "a connection fell further behind than the log reaches: closed",
        );
        connection.transport.terminate();
      }
    } catch (error) {
      logger.debug({ err: error }, "the reach of the log could not be read");
    } finally {
      this.#checkingReach = false;
      this.#reachCheckedAt = performance.now();
    }
  }
}
