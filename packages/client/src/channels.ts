/** Subscriptions to channels, and who hears what comes on them. */
import { ClientError } from "./errors.ts";
import { guard, Handlers } from "./handlers.ts";
import type { Namespace } from "./namespace.ts";
import { type RefreshArgument, Refreshes } from "./refreshes.ts";
import { subscription } from "./subscription.ts";
import type { Gap, Message, Ready, SubscribeOptions, Subscription } from "./types.ts";

interface Listeners {
  readonly messages: Handlers<[unknown, Message]>;
  readonly gaps: Handlers<[Gap]>;
  readonly refreshes: Refreshes;
}

interface MessageArgument extends Omit<Message, "id"> {
  readonly payload?: unknown;
  readonly truncated?: unknown;
  /** In a replay; elsewhere it trails. */
  readonly id?: string;
}

export class Channels {
  readonly #namespace: Namespace;
  readonly #report: (error: ClientError) => void;
  readonly #channels = new Map<string, Listeners>();

  constructor(namespace: Namespace, report: (error: ClientError) => void) {
    this.#namespace = namespace;
    this.#report = report;
    const { socket } = namespace;
    socket.on("notification", (argument: MessageArgument, id: string) => this.#heard(argument, id));
    socket.on("refresh", (argument: RefreshArgument & { channel: string }, id: string) =>
      this.#channels.get(argument.channel)?.refreshes.heard(argument, id),
    );
    socket.on("gap", ({ channels = [...this.#channels.keys()] }: { channels?: string[] }, id: string) => {
      for (const channel of channels) this.#channels.get(channel)?.gaps.call({ channel, id });
    });
  }

  subscribe(
    channel: string,
    handler: (payload: unknown, message: Message) => unknown,
    { since, onGap, onRefresh, signal }: SubscribeOptions,
  ): Subscription {
    const claim = this.#namespace.claims.hold(channel, {
      enter: "subscribe",
      leave: "unsubscribe",
      body: { channel },
      first: { since },
    });
    const report = this.#report;
    const known = this.#channels.get(channel);
    const listeners = known ?? {
      messages: new Handlers<[unknown, Message]>(report),
      gaps: new Handlers<[Gap]>(report),
      refreshes: new Refreshes(channel, report),
    };
    this.#channels.set(channel, listeners);
    const { messages, gaps, refreshes } = listeners;
    const onOwnGap =
      onGap ?? (({ id }: Gap) => report(new ClientError("GAP_UNHANDLED", `${channel}: a gap up to ${id}`)));
    const removals = [messages.add(handler), gaps.add(onOwnGap), refreshes.add("*", onRefresh ?? (() => {}))];
    const end = () => {
      for (const remove of removals) remove();
      if (messages.size === 0) this.#channels.delete(channel);
      claim.release();
    };
    // What came since then went to those who were here, and is not told twice.
    if (since !== undefined && known !== undefined) void guard(onOwnGap, report)({ channel, id: since });
    return subscription((ended) => this.#ready(claim.ready, channel, ended), end, signal);
  }

  close(): void {
    for (const { refreshes } of this.#channels.values()) refreshes.close();
  }

  async #ready(answered: Promise<object>, channel: string, ended: AbortSignal): Promise<Ready> {
    await this.#namespace.whenReady(ended);
    const { id, recovered, channel: name } = (await answered) as Ready & { channel: string };
    // Another spelling: what comes has the channel's own name.
    if (name !== channel) this.#report(new ClientError("INVALID_CHANNEL", `subscribe to ${name}, not ${channel}`));
    return { id, recovered };
  }

  #heard({ payload, truncated, id: own, ...message }: MessageArgument, trailing: string): void {
    const { channel } = message;
    const id = own ?? trailing;
    const listeners = this.#channels.get(channel);
    if (truncated === undefined) listeners?.messages.call(payload, { ...message, id });
    else listeners?.gaps.call({ channel, id, truncated });
  }
}
