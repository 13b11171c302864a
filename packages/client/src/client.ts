import { REQUEST } from "@carillon/protocol";
import { Channels } from "./channels.ts";
import { ClientError } from "./errors.ts";
import { Handlers } from "./handlers.ts";
import { Link } from "./link.ts";
import type { Namespace } from "./namespace.ts";
import { Refreshes } from "./refreshes.ts";
import { subscription } from "./subscription.ts";
import type {
  ClientOptions,
  Message,
  Place,
  Refresh,
  RequestOptions,
  Status,
  SubscribeOptions,
  Subscription,
} from "./types.ts";

/** Payloads by channel, for the types of handlers. */
type AnyChannels = Record<string, unknown>;

/** Nothing is connected before it is used. */
export function createClient<Channels extends object = AnyChannels>(options: ClientOptions = {}): Client<Channels> {
  return new Client<Channels>(options);
}

const CHANNELS = "/channels";

export class Client<Payloads extends object = AnyChannels> {
  readonly #link: Link;
  readonly #channels: Channels;
  readonly #refreshes = new Map<string, Refreshes>();
  readonly #statusHandlers: Handlers<[Status]>;
  readonly #report: (error: ClientError) => void;

  constructor(options: ClientOptions) {
    this.#report = guarded(options.onError ?? console.error);
    this.#statusHandlers = new Handlers(this.#report);
    this.#link = new Link({
      ...options,
      report: this.#report,
      onStatus: (status) => this.#statusHandlers.call(status),
    });
    this.#channels = new Channels({
      namespace: () => this.#link.namespace(CHANNELS),
      report: this.#report,
      onGap: options.onGap,
    });
    if (options.signal?.aborted) this.close();
    options.signal?.addEventListener("abort", () => this.close(), { once: true });
  }

  get status(): Status {
    return this.#link.status;
  }

  /** Calls `handler` whenever the status is another one. Call what it returns to end that. */
  onStatus(handler: (status: Status) => void, { signal }: RequestOptions = {}): () => void {
    const stop = this.#statusHandlers.add(handler);
    signal?.addEventListener("abort", stop, { once: true });
    return stop;
  }

  /**
   * Calls `handler` when something changed that is in `scope`, a name or a pattern such as `TRIP_*|USER_DELETED`; without one, when
   * anything did. Scope `ALL` reaches every handler: it is also what is told after a gap.
   */
  onRefresh(namespace: string, handler: (refresh: Refresh) => unknown, options?: RequestOptions): Subscription;
  onRefresh(
    namespace: string,
    scope: string,
    handler: (refresh: Refresh) => unknown,
    options?: RequestOptions,
  ): Subscription;
  onRefresh(namespace: string, ...rest: unknown[]): Subscription {
    const [scope, handler, options] = typeof rest[0] === "string" ? rest : ["*", ...rest];
    let refreshes = this.#refreshes.get(namespace);
    if (refreshes === undefined) {
      refreshes = new Refreshes(this.#link.namespace(`/${namespace}`), this.#report);
      this.#refreshes.set(namespace, refreshes);
    }
    return refreshes.add(scope as string, handler as (refresh: Refresh) => unknown, options as RequestOptions);
  }

  /** Calls `handler` with every message on `channel`, in order and each once, and `onGap` where some may be missing. */
  subscribe<Channel extends keyof Payloads & string>(
    channel: Channel,
    handler: (payload: Payloads[Channel], message: Message) => unknown,
    options: SubscribeOptions = {},
  ): Subscription {
    return this.#channels.subscribe(channel, handler as (payload: unknown, message: Message) => unknown, options);
  }

  /** Publishes to everybody who is subscribed, this client included, where the token allows it. */
  async publish<Channel extends keyof Payloads & string>(
    channel: Channel,
    payload: Payloads[Channel],
    options?: RequestOptions,
  ): Promise<{ id: string }> {
    const body = { channel, payload: plain(payload) };
    const { id } = await this.#link.namespace(CHANNELS).request(REQUEST.publish, body, options);
    return { id: id as string };
  }

  /** Also hears what is published to this room, until the last who joined it leaves. */
  join(room: string, place: Place, { signal }: RequestOptions = {}): Subscription {
    const { namespace, key, body } = this.#place(room, place);
    const claim = namespace.claim(key, { enter: REQUEST.join, leave: REQUEST.leave, body });
    return subscription(
      claim.ready.then(() => namespace.whenReady()),
      () => claim.release(),
      signal,
    );
  }

  /** Leaves a room, whoever joined it. */
  leave(room: string, place: Place): void {
    const { namespace, key } = this.#place(room, place);
    namespace.drop(key);
  }

  /** Events of the notification service were shown: ids as in `payload.eventId` of its refreshes. */
  seen(ids: string | readonly string[]): void {
    this.#link.seen(typeof ids === "string" ? [ids] : ids);
  }

  /** Whether somebody looks at this client. In a browser it finds out by itself. */
  setForeground(foreground: boolean): void {
    this.#link.setForeground(foreground);
  }

  /** Tries once more after a refusal, for instance when somebody has logged in. */
  connect(): void {
    this.#link.connect();
  }

  /** Ends everything; the client can't be used again. */
  close(): void {
    for (const refreshes of this.#refreshes.values()) refreshes.close();
    this.#link.close();
  }

  #place(room: string, place: Place): { namespace: Namespace; key: string; body: object } {
    if ("namespace" in place)
      return { namespace: this.#link.namespace(`/${place.namespace}`), key: `room ${room}`, body: { room } };
    const { channel } = place;
    return { namespace: this.#link.namespace(CHANNELS), key: `room ${channel} ${room}`, body: { channel, room } };
  }
}

/** As every other client will get it: a date as text, nothing binary. */
function plain(payload: unknown): unknown {
  let text: string | undefined;
  try {
    text = JSON.stringify(payload);
  } catch (cause) {
    throw new ClientError("INVALID_JSON", "the payload can't be written as JSON", { cause });
  }
  if (text === undefined) throw new ClientError("INVALID_JSON", "the payload can't be written as JSON");
  return JSON.parse(text);
}

/** What the application does about an error must not become another one. */
function guarded(onError: (error: ClientError) => void): (error: ClientError) => void {
  return (error) => {
    try {
      onError(error);
    } catch (failure) {
      console.error(failure);
    }
  };
}
