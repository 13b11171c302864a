/** A client that stays connected, whatever it takes, and judges all that it hears. */
import {
  connectFailures,
  connectTime,
  doubled,
  gapsTold,
  lost,
  outOfOrder,
  publishToReceive,
  received,
  resumed,
} from "./metrics.ts";
import type { Mark } from "./publisher.ts";
import { type Session, SocketIo } from "./socket-io.ts";

export interface ListenerOptions {
  readonly url: string;
  readonly channel: string;
  readonly token?: string | undefined;
  /** Called once, when it is whole for the first time. */
  readonly onReady?: () => void;
}

const RETRY_MIN_MS = 500;
const RETRY_SPREAD_MS = 1000;

export class Listener {
  readonly #options: ListenerOptions;
  readonly #session: Session = {};
  /** The last number heard of each publisher. */
  readonly #numbers = new Map<number, number>();
  #socket: SocketIo | undefined;
  #lastId: readonly [epoch: number, n: number] = [0, 0];
  #openedAt = 0;
  #subscribed = false;
  #stopped = false;

  constructor(options: ListenerOptions) {
    this.#options = options;
    this.#open();
  }

  /** Loses its transport, as a client in a tunnel does, and comes back. */
  drop(): void {
    this.#socket?.close();
  }

  stop(): void {
    this.#stopped = true;
    this.#socket?.close();
  }

  #open(): void {
    const { url, token } = this.#options;
    this.#openedAt = Date.now();
    let ready = false;
    this.#socket = new SocketIo({
      url,
      namespace: "/channels",
      session: this.#session,
      token,
      onEvent: (event, args) => {
        if (event === "ready") {
          ready = true;
          this.#ready(args[0] as { recovered: boolean });
        } else this.#hear(event, args);
      },
      onEnd: () => {
        if (this.#stopped) return;
        if (!ready) connectFailures.add(1);
        setTimeout(() => this.#open(), RETRY_MIN_MS + Math.random() * RETRY_SPREAD_MS);
      },
    });
  }

  #ready({ recovered }: { recovered: boolean }): void {
    connectTime.add(Date.now() - this.#openedAt);
    if (this.#subscribed) {
      if (recovered) resumed.add(1);
      return;
    }
    this.#socket?.ask("subscribe", { channel: this.#options.channel }, ({ ok }) => {
      if (!ok) throw new Error(`may not subscribe to ${this.#options.channel}`);
      this.#subscribed = true;
      this.#options.onReady?.();
    });
  }

  #hear(event: string, args: readonly unknown[]): void {
    const [epoch = 0, n = 0] = String(args.at(-1)).split("-").map(Number);
    if (event === "gap") {
      gapsTold.add(1);
      this.#numbers.clear();
      this.#lastId = [epoch, n];
      return;
    }
    if (event !== "notification") return;
    const [lastEpoch, lastN] = this.#lastId;
    if (epoch === lastEpoch && n === lastN) doubled.add(1);
    else if (epoch < lastEpoch || (epoch === lastEpoch && n < lastN)) outOfOrder.add(1);
    this.#lastId = [epoch, n];
    this.#judge((args[0] as { payload: Mark }).payload);
  }

  #judge({ publisher, number, atMs }: Mark): void {
    received.add(1);
    publishToReceive.add(Date.now() - atMs);
    const before = this.#numbers.get(publisher);
    if (before !== undefined && number > before + 1) lost.add(number - before - 1);
    this.#numbers.set(publisher, Math.max(number, before ?? 0));
  }
}
