/**
 * Connections over the high-water mark: off the live path until they have read what they were sent, then back the way they joined.
 * Each leaves its rooms meanwhile, so that nothing is held for it but its position.
 */
import type { CatchUp } from "./catch-up.ts";
import type { Connection } from "./connection.ts";
import type { Laggards } from "./laggards.ts";
import { enterAllRooms, leaveAllRooms } from "./membership.ts";

export interface SlowLaneOptions {
  readonly laggards: Pick<Laggards, "drained">;
  readonly catchUp: Pick<CatchUp, "run">;
  /** It could not be brought back. */
  readonly giveUp: (connection: Connection, error: unknown) => void;
}

export class SlowLane {
  readonly #options: SlowLaneOptions;
  readonly #behind = new Set<Connection>();

  constructor(options: SlowLaneOptions) {
    this.#options = options;
  }

  get size(): number {
    return this.#behind.size;
  }

  take(connection: Connection): void {
    connection.state = "behind";
    leaveAllRooms(connection);
    this.#behind.add(connection);
    connection.whole = this.#bringBack(connection).catch((error: unknown) => this.#options.giveUp(connection, error));
  }

  /** It has closed. */
  forget(connection: Connection): void {
    this.#behind.delete(connection);
  }

  async #bringBack(connection: Connection): Promise<void> {
    const { laggards, catchUp } = this.#options;
    await laggards.drained(connection);
    await catchUp.run(connection, { kind: "offset", position: connection.position }, () => {
      this.#behind.delete(connection);
      enterAllRooms(connection);
    });
  }
}
