import { Channels } from "./channels.ts";
import { ClientError } from "./errors.ts";
import { guard, Handlers } from "./handlers.ts";
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
export function createClient<Payloads extends object = AnyChannels>(options: ClientOptions = {}): Client<Payloads> {
  return new Client<Payloads>(options);
}

const CHANNELS = "/channels";

export class Client<Payloads extends object = AnyChannels> {
  readonly #link: Link;
  #channels: Channels | undefined;
  readonly #refreshes = new Map<string, Refreshes>();
  readonly #statusHandlers: Handlers<[Status]>;
  readonly #report: (error: ClientError) => void;

  constructor(options: ClientOptions) {
    this.#report = guard(options.onError ?? console.error, console.error);
    this.#statusHandlers = new Handlers(this.#report);
    this.#link = new Link({
      ...options,
      report: this.#report,
      onStatus: (status) => this.#statusHandlers.call(status),
    });
    if (options.signal?.aborted) this.close();
    options.signal?.addEventListener("abort", () => this.close());
  }

  get status(): Status {
    return this.#link.status;
  }

  /** Calls `handler` whenever the status is another one. Call what it returns to end that. */
  onStatus(handler: (status: Status) => void, { signal }: RequestOptions = {}): () => void {
    const stop = this.#statusHandlers.add(handler);
    signal?.addEventListener("abort", stop);
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
    const source = this.#link.namespace(`/${namespace}`);
    const release = source.use();
    let refreshes = this.#refreshes.get(namespace);
    if (refreshes === undefined) {
      refreshes = new Refreshes(namespace, this.#report, source.socket);
      this.#refreshes.set(namespace, refreshes);
    }
    const remove = refreshes.add(scope as string, handler as (refresh: Refresh) => unknown);
    const end = () => {
      remove();
      release();
    };
    return subscription((ended) => source.whenReady(ended), end, (options as RequestOptions | undefined)?.signal);
  }

  /** Calls `handler` with every message on `channel`, in order and each once, and `onGap` where some may be missing. */
  subscribe<Channel extends keyof Payloads & string>(
    channel: Channel,
    handler: (payload: Payloads[Channel], message: Message) => unknown,
    options: SubscribeOptions = {},
  ): Subscription {
    this.#channels ??= new Channels(this.#link.namespace(CHANNELS), this.#report);
    return this.#channels.subscribe(channel, handler as (payload: unknown, message: Message) => unknown, options);
  }

  /** Publishes to everybody who is subscribed, this client included, where the token allows it. */
  async publish<Channel extends keyof Payloads & string>(
    channel: Channel,
    payload: Payloads[Channel],
    options?: RequestOptions,
  ): Promise<{ id: string }> {
    const body = { channel, payload: plain(payload) };
    const { id } = await this.#link.namespace(CHANNELS).request("publish", body, options);
    return { id: id as string };
  }

  /** Also hears what is published to this room, until the last who joined it leaves. */
  join(room: string, place: Place, { signal }: RequestOptions = {}): Subscription {
    const { namespace, key, body } = this.#place(room, place);
    const claim = namespace.claims.hold(key, { enter: "join", leave: "leave", body });
    return subscription(
      (ended) => namespace.whenReady(ended).then((ready) => claim.ready.then(() => ready)),
      () => claim.release(),
      signal,
    );
  }

  /** Leaves a room, whoever joined it. */
  leave(room: string, place: Place): void {
    const { namespace, key } = this.#place(room, place);
    namespace.claims.drop(key);
  }

  /** Events of the notification service were shown: ids as in `payload.eventId` of its refreshes. */
  seen(ids: readonly string[]): void {
    this.#link.seen(ids);
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
    this.#channels?.close();
    this.#link.close();
  }

  #place(room: string, place: Place): { namespace: Namespace; key: string; body: object } {
    const { namespace = "channels", channel } = place as { namespace?: string; channel?: string };
    // No channel and no room has a blank.
    const key = `${channel} ${room}`;
    return { namespace: this.#link.namespace(`/${namespace}`), key, body: { channel, room } };
  }
}

/** As every other client will get it: a date as text, nothing binary. */
function plain(payload: unknown): unknown {
  try {
    return JSON.parse(JSON.stringify(payload));
  } catch (cause) {
    throw new ClientError("INVALID_JSON", "the payload is not JSON", { cause });
  }
}
