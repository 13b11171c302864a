/** All transports of this node, to be counted and to be ended. */
import type { Server } from "socket.io";
import { transportOf } from "./socket-io-transport.ts";
import type { Transport } from "./transport.ts";

interface Engine {
  readonly clientsCount: number;
  readonly clients: Readonly<Record<string, object>>;
}

export class Transports {
  readonly #io: Pick<Server, "engine">;
  readonly #plain = new Set<Transport>();

  constructor(io: Pick<Server, "engine">) {
    this.#io = io;
  }

  /** One that isn't Engine.IO's, until it closes. */
  add(transport: Transport): void {
    this.#plain.add(transport);
    transport.onClose(() => this.#plain.delete(transport));
  }

  get open(): number {
    // Absent where the node serves no clients.
    return (this.#engine?.clientsCount ?? 0) + this.#plain.size;
  }

  byKind(): ReadonlyMap<string, number> {
    const counts = new Map([
      ["websocket", 0],
      ["polling", 0],
      ["ws", 0],
      ["events", 0],
    ]);
    for (const { kind } of this.#all()) counts.set(kind, (counts.get(kind) ?? 0) + 1);
    return counts;
  }

  /**
   * Closes up to `count` transports, so that their clients come back elsewhere by themselves. Those whose clients wait for an
   * answer come last, and not yet where `patient`.
   */
  closeSome(count: number, patient: boolean): void {
    const open = this.#all().filter(({ isOpen }) => isOpen);
    const idle = open.filter(({ pendingRequests }) => pendingRequests === 0);
    const busy = patient ? [] : open.filter(({ pendingRequests }) => pendingRequests > 0);
    for (const transport of [...idle, ...busy].slice(0, count)) transport.close("DRAINING");
  }

  /** Ends all now, also those that wait for a client which doesn't read or doesn't poll. */
  terminateAll(): void {
    for (const transport of this.#all()) transport.terminate();
  }

  get #engine(): Engine | undefined {
    return this.#io.engine as unknown as Engine | undefined;
  }

  #all(): Transport[] {
    return [...Object.values(this.#engine?.clients ?? {}).map(transportOf), ...this.#plain];
  }
}
