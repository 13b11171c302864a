/**
 * Rooms and subscriptions that the server holds for this client: asked for on every connection until the last holder lets go.
 * Asking again for what the server still knows is harmless.
 */
import type { Backoff } from "./backoff.ts";
import { type ClientError, closed, RETRYABLE } from "./errors.ts";

export type Answer = Record<string, unknown>;

export interface ClaimOptions {
  /** Requests that begin and end it. */
  readonly enter: string;
  readonly leave: string;
  readonly body: object;
  /** Beside the body until the first answer. */
  readonly first?: object;
}

export interface Claim {
  readonly ready: Promise<Answer>;
  /** To be called once by each who asked for it. */
  release(): void;
}

/** Where it is held. */
export interface Holder {
  /** Its id is that of the connection; `undefined` while there is none. */
  readonly socket: { readonly id?: string | undefined };
  /** On this connection, once. */
  ask(event: string, body: object): Promise<Answer>;
  /** Keeps it connected until the returned function is called. */
  use(): () => void;
}

export interface ClaimsOptions {
  readonly backoff: () => Backoff;
  readonly report: (error: ClientError) => void;
}

interface Held extends ClaimOptions {
  readonly ready: PromiseWithResolvers<Answer>;
  timer?: ReturnType<typeof setTimeout>;
  holders: number;
  answered: boolean;
  end(): void;
}

export class Claims {
  readonly #holder: Holder;
  readonly #options: ClaimsOptions;
  readonly #held = new Map<string, Held>();

  constructor(holder: Holder, options: ClaimsOptions) {
    this.#holder = holder;
    this.#options = options;
  }

  hold(key: string, options: ClaimOptions): Claim {
    const held = this.#held.get(key) ?? this.#begin(key, options);
    held.holders++;
    return {
      ready: held.ready.promise,
      release: () => {
        if (--held.holders === 0) held.end();
      },
    };
  }

  /** Ends it, whoever holds it. */
  drop(key: string): void {
    this.#held.get(key)?.end();
  }

  /** There is a new connection. */
  assertAll(): void {
    for (const held of this.#held.values()) void this.#assert(held);
  }

  close(): void {
    for (const held of this.#held.values()) held.end();
  }

  #begin(key: string, options: ClaimOptions): Held {
    const holder = this.#holder;
    const release = holder.use();
    const ready = Promise.withResolvers<Answer>();
    ready.promise.catch(() => {}); // reported where it happens
    const end = () => {
      if (this.#held.get(key) !== held) return;
      this.#held.delete(key);
      held.holders = 0;
      clearTimeout(held.timer);
      ready.reject(closed());
      // What a lost connection held comes back with the next one, as nobody's.
      if (holder.socket.id !== undefined) holder.ask(options.leave, options.body).catch(() => {});
      release();
    };
    const held: Held = { ...options, ready, holders: 0, answered: false, end };
    this.#held.set(key, held);
    if (holder.socket.id !== undefined) void this.#assert(held);
    return held;
  }

  async #assert(held: Held, backoff = this.#options.backoff()): Promise<void> {
    const { socket } = this.#holder;
    const { enter, body, first, ready } = held;
    const here = socket.id;
    const isOver = () => here !== socket.id || held.holders === 0;
    try {
      ready.resolve(await this.#holder.ask(enter, held.answered ? body : { ...body, ...first }));
      held.answered = true;
    } catch (error) {
      if (isOver()) return;
      const { code, retryAfterS = 0 } = error as ClientError;
      if (!RETRYABLE.includes(code)) {
        ready.reject(error);
        this.#options.report(error as ClientError);
        return;
      }
      const retry = () => {
        if (!isOver()) void this.#assert(held, backoff);
      };
      held.timer = setTimeout(retry, Math.max(retryAfterS * 1000, backoff()));
    }
  }
}
