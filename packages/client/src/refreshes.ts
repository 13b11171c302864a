/** The handlers of one refresh namespace. */
import { EVENT, SCOPE_ALL } from "@carillon/protocol";
import type { ClientError } from "./errors.ts";
import { Handlers } from "./handlers.ts";
import type { Namespace } from "./namespace.ts";
import { compilePattern } from "./pattern.ts";
import { Spread } from "./spread.ts";
import { subscription } from "./subscription.ts";
import type { Refresh, RequestOptions, Subscription } from "./types.ts";

interface RefreshArgument {
  readonly scope: string;
  readonly payload?: unknown;
  readonly spreadMs?: number;
}

export class Refreshes {
  readonly #namespace: Namespace;
  readonly #handlers: Handlers<[Refresh]>;
  readonly #spread = new Spread((refresh) => this.#handlers.call(refresh));

  constructor(namespace: Namespace, report: (error: ClientError) => void) {
    this.#namespace = namespace;
    this.#handlers = new Handlers(report);
    namespace.socket.on(EVENT.refresh, (refresh: RefreshArgument, id: string) => this.#heard(refresh, id));
    // A message here has no scope: something changed, and it doesn't say what.
    namespace.socket.on(EVENT.notification, ({ payload }: { payload?: unknown }, id: string) =>
      this.#heard({ scope: SCOPE_ALL, payload }, id),
    );
  }

  add(scope: string, handler: (refresh: Refresh) => unknown, { signal }: RequestOptions = {}): Subscription {
    const matches = compilePattern(scope);
    const remove = this.#handlers.add((refresh) =>
      refresh.scope === SCOPE_ALL || matches(refresh.scope) ? handler(refresh) : undefined,
    );
    const release = this.#namespace.use();
    const end = () => {
      remove();
      release();
      if (this.#handlers.size === 0) this.#spread.clear();
    };
    return subscription(this.#namespace.whenReady(), end, signal);
  }

  close(): void {
    this.#spread.clear();
  }

  #heard({ scope, payload, spreadMs }: RefreshArgument, id: string): void {
    const namespace = this.#namespace.name.slice(1);
    this.#spread.add({ namespace, scope, id, ...(payload !== undefined && { payload }) }, spreadMs);
  }
}
