/** Who wants to know of refreshes on one channel. */
import type { Socket } from "socket.io-client";
import type { ClientError } from "./errors.ts";
import { Handlers } from "./handlers.ts";
import { compilePattern } from "./pattern.ts";
import { Spread } from "./spread.ts";
import type { Refresh } from "./types.ts";

/** As it comes over the wire. */
export interface RefreshArgument {
  readonly scope: string;
  readonly payload?: unknown;
  readonly spreadMs?: number;
  /** In a replay; elsewhere it trails. */
  readonly id?: string;
}

export class Refreshes {
  readonly #namespace: string;
  readonly #handlers: Handlers<[Refresh]>;
  readonly #spread = new Spread((refresh) => this.#handlers.call(refresh));

  /** With the `socket` of a refresh namespace, it hears by itself. */
  constructor(namespace: string, report: (error: ClientError) => void, socket?: Pick<Socket, "on">) {
    this.#namespace = namespace;
    this.#handlers = new Handlers(report);
    socket?.on("refresh", (argument: RefreshArgument, id: string) => this.heard(argument, id));
    // A message there has no scope: something changed, and it doesn't say what.
    socket?.on("notification", ({ payload }: RefreshArgument, id: string) => this.heard({ scope: "ALL", payload }, id));
  }

  /** What it returns takes the handler away. */
  add(scope: string, handler: (refresh: Refresh) => unknown): () => void {
    const matches = compilePattern(scope);
    const remove = this.#handlers.add((refresh) =>
      refresh.scope === "ALL" || matches(refresh.scope) ? handler(refresh) : undefined,
    );
    return () => {
      remove();
      if (this.#handlers.size === 0) this.#spread.clear();
    };
  }

  heard({ scope, payload, spreadMs, id }: RefreshArgument, trailing: string): void {
    const refresh = { namespace: this.#namespace, scope, id: id ?? trailing };
    this.#spread.add(payload === undefined ? refresh : { ...refresh, payload }, spreadMs);
  }

  close(): void {
    this.#spread.clear();
  }
}
