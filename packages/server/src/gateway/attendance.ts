import type { PresenceTracker } from "@carillon/core";
import type { Connection } from "./connection.ts";

/**
 * Tells presence of the connections of known users. A transport is one client of its user, however many connections it carries:
 * what a client says on one of them holds for all.
 */
export class Attendance {
  readonly #tracker: Pick<PresenceTracker, "connected" | "disconnected" | "said">;
  readonly #present = new WeakSet<Connection>();

  constructor(tracker: Pick<PresenceTracker, "connected" | "disconnected" | "said">) {
    this.#tracker = tracker;
  }

  /** Let in. */
  arrived(connection: Connection): void {
    const { principal, transport, installationId, state } = connection;
    if (principal.user === undefined || state === "closed") return;
    this.#present.add(connection);
    const { foreground } = transport;
    this.#tracker.connected(principal.user, transport, {
      ...(installationId !== undefined && { installationId }),
      foreground,
    });
  }

  /** Closed, whether or not it was let in before. */
  left(connection: Connection): void {
    const { principal, transport } = connection;
    if (principal.user !== undefined && this.#present.delete(connection))
      this.#tracker.disconnected(principal.user, transport);
  }

  said({ principal, transport }: Connection, foreground: boolean): void {
    if (principal.user !== undefined) this.#tracker.said(principal.user, transport, foreground);
  }
}
