/** All transports of this node, to be counted and to be ended. */
import type { Server } from "socket.io";
import { type EngineConnection, transportOf } from "./transport.ts";

interface Engine {
  readonly clientsCount: number;
  readonly clients: Readonly<Record<string, EngineConnection>>;
}

export class Transports {
  readonly #io: Pick<Server, "engine">;

  constructor(io: Pick<Server, "engine">) {
    this.#io = io;
  }

  get open(): number {
    // Absent where the node serves no clients.
    return this.#engine?.clientsCount ?? 0;
  }

  byKind(): ReadonlyMap<string, number> {
    const counts = new Map([
      ["websocket", 0],
      ["polling", 0],
    ]);
    for (const { transport } of this.#all()) counts.set(transport.name, (counts.get(transport.name) ?? 0) + 1);
    return counts;
  }

  /**
   * Closes up to `count` transports, so that their clients come back elsewhere by themselves. Those whose clients wait for an
   * answer come last, and not yet where `patient`.
   */
  closeSome(count: number, patient: boolean): void {
    const open = this.#all().filter((engine) => engine.readyState === "open");
    const idle = open.filter((engine) => transportOf(engine).pendingRequests === 0);
    const busy = patient ? [] : open.filter((engine) => transportOf(engine).pendingRequests > 0);
    for (const engine of [...idle, ...busy].slice(0, count)) transportOf(engine).close();
  }

  /** Ends all now, also those that wait for a client which doesn't read or doesn't poll. */
  terminateAll(): void {
    for (const engine of this.#all()) transportOf(engine).terminate();
  }

  get #engine(): Engine | undefined {
    return this.#io.engine as unknown as Engine | undefined;
  }

  #all(): EngineConnection[] {
    return Object.values(this.#engine?.clients ?? {});
  }
}
