/** Subscriptions to channels, and who hears what comes on them. */
import { EVENT, REQUEST } from "@carillon/protocol";
import type { Claim } from "./claim.ts";
import { ClientError } from "./errors.ts";
import { Handlers } from "./handlers.ts";
import type { Namespace } from "./namespace.ts";
import { Spread } from "./spread.ts";
import { subscription } from "./subscription.ts";
import type { Gap, Message, Ready, Refresh, SubscribeOptions, Subscription } from "./types.ts";

export interface ChannelsOptions {
  readonly namespace: () => Namespace;
  readonly report: (error: ClientError) => void;
  readonly onGap: ((gap: Gap) => void) | undefined;
}

interface Listeners {
  readonly messages: Handlers<[unknown, Message]>;
  readonly gaps: Handlers<[Gap]>;
  readonly refreshes: Handlers<[Refresh]>;
  readonly spread: Spread;
}

interface MessageArgument {
  readonly channel: string;
  readonly payload?: unknown;
  readonly truncated?: unknown;
  readonly timestamp: string;
  readonly from?: string;
  /** In a replay; elsewhere it trails. */
  readonly id?: string;
}

interface RefreshArgument {
  readonly channel: string;
  readonly scope: string;
  readonly payload?: unknown;
  readonly spreadMs?: number;
  readonly id?: string;
}

export class Channels {
  readonly #options: ChannelsOptions;
  readonly #channels = new Map<string, Listeners>();
  #namespace: Namespace | undefined;

  constructor(options: ChannelsOptions) {
    this.#options = options;
  }

  subscribe(
    channel: string,
    handler: (payload: unknown, message: Message) => unknown,
    { since, onGap, onRefresh, signal }: SubscribeOptions,
  ): Subscription {
    const namespace = this.#connect();
    const isFirst = !this.#channels.has(channel);
    const listeners = this.#listeners(channel);
    const removals = [
      listeners.messages.add(handler),
      listeners.gaps.add(onGap ?? ((gap) => this.#unhandled(gap))),
      ...(onRefresh === undefined ? [] : [listeners.refreshes.add(onRefresh)]),
    ];
    const claim = namespace.claim(channel, {
      enter: REQUEST.subscribe,
      leave: REQUEST.unsubscribe,
      body: { channel },
      ...(since !== undefined && { first: { since } }),
    });
    const end = () => {
      for (const remove of removals) remove();
      if (listeners.messages.size === 0) {
        listeners.spread.clear();
        this.#channels.delete(channel);
      }
      claim.release();
    };
    // What came since then went to those who were here, and is not told twice.
    if (since !== undefined && !isFirst) onGap?.({ channel, id: since });
    return subscription(this.#ready(claim, channel), end, signal);
  }

  async #ready(claim: Claim, channel: string): Promise<Ready> {
    const answer = (await claim.ready) as { id: string; recovered: boolean; channel: string };
    if (answer.channel !== channel) {
      const message = `"${channel}" is another spelling of "${answer.channel}": subscribe to that`;
      const failure = new ClientError("INVALID_CHANNEL", message);
      this.#options.report(failure);
      throw failure;
    }
    return { id: answer.id, recovered: answer.recovered };
  }

  #connect(): Namespace {
    if (this.#namespace !== undefined) return this.#namespace;
    const namespace = this.#options.namespace();
    namespace.socket.on(EVENT.notification, (message: MessageArgument, id: string) => this.#heard(message, id));
    namespace.socket.on(EVENT.refresh, (refresh: RefreshArgument, id: string) => this.#refreshed(refresh, id));
    namespace.socket.on(EVENT.gap, ({ channels }: { channels?: string[] }, id: string) => {
      for (const channel of channels ?? this.#channels.keys()) this.#channels.get(channel)?.gaps.call({ channel, id });
    });
    this.#namespace = namespace;
    return namespace;
  }

  #listeners(channel: string): Listeners {
    let listeners = this.#channels.get(channel);
    if (listeners === undefined) {
      const { report } = this.#options;
      const refreshes = new Handlers<[Refresh]>(report);
      const spread = new Spread((refresh) => refreshes.call(refresh));
      listeners = { messages: new Handlers(report), gaps: new Handlers(report), refreshes, spread };
      this.#channels.set(channel, listeners);
    }
    return listeners;
  }

  #heard({ channel, payload, truncated, timestamp, from, id: own }: MessageArgument, trailing: string): void {
    const listeners = this.#channels.get(channel);
    const id = own ?? trailing;
    if (truncated !== undefined) listeners?.gaps.call({ channel, id, truncated });
    else listeners?.messages.call(payload, { channel, id, timestamp, ...(from !== undefined && { from }) });
  }

  #refreshed({ channel, scope, payload, spreadMs, id: own }: RefreshArgument, trailing: string): void {
    const refresh = { namespace: channel, scope, id: own ?? trailing, ...(payload !== undefined && { payload }) };
    this.#channels.get(channel)?.spread.add(refresh, spreadMs);
  }

  #unhandled(gap: Gap): void {
    const { onGap, report } = this.#options;
    if (onGap !== undefined) onGap(gap);
    else report(new ClientError("GAP_UNHANDLED", `messages on ${gap.channel} may be missing up to ${gap.id}`));
  }
}
