import type { ManagerOptions } from "socket.io-client";
import type { ClientError, ClientErrorCode } from "./errors.ts";

/** Asked whenever a new token is needed; not again while the last one holds. `undefined`: go without. */
export type TokenSource = (signal: AbortSignal) => string | undefined | Promise<string | undefined>;

export interface ClientOptions {
  /** Where Carillon is: `https://realtime.example.com`. Default: where the page comes from. */
  url?: string | undefined;
  /** A token, or who to ask for one: before it expires, and when the server says that it has. */
  token?: string | TokenSource | undefined;
  /** The device's name in the notification service. */
  installationId?: string | undefined;
  /** More of the handshake: under `AUTH=off` `{ user: "42", roles: ["admin"] }`. */
  auth?: Readonly<Record<string, unknown>> | undefined;
  /** What went wrong beside what a promise rejects with: refusals, handlers that threw, gaps that nobody takes. Default: the console. */
  onError?: ((error: ClientError) => void) | undefined;
  /** How long a request may take, waiting for a connection included. Default 10,000. */
  requestTimeoutMs?: number | undefined;
  /** Closes the client. */
  signal?: AbortSignal | undefined;
  /** Options of Socket.IO's manager, such as `path`, `transports` or `reconnectionDelayMax`. */
  socket?: Partial<ManagerOptions> | undefined;
}

/**
 * - `idle`: nothing is in use, so nothing is connected.
 * - `connecting`: on its way, for the first time or again.
 * - `connected`: whole; what was missed has been heard.
 * - `offline`: the device says that it has no network.
 * - `refused`: for good, with the server's code; `client.connect()` tries once more.
 * - `closed`: by `client.close()`.
 */
export type Status =
  | { readonly state: "idle" | "connecting" | "offline" | "closed" }
  | { readonly state: "connected"; readonly node: string }
  | { readonly state: "refused"; readonly code: ClientErrorCode };

/** "Fetch again." */
export interface Refresh {
  readonly namespace: string;
  /** What changed, in the publisher's words. `ALL`: anything may have. */
  readonly scope: string;
  readonly payload?: unknown;
  /** Compare it for equality and send it back as `since`; it means nothing else. */
  readonly id: string;
}

/** A message beside its payload. */
export interface Message {
  readonly channel: string;
  readonly id: string;
  /** RFC 3339, for people; the order is that of arrival. */
  readonly timestamp: string;
  /** The user who published it; absent for the application's own servers. */
  readonly from?: string;
}

/** Something of this channel may be missing: fetch it from where it is kept. */
export interface Gap {
  readonly channel: string;
  /** Up to where something may be missing. */
  readonly id: string;
  /** A single message that was too large to be sent along: where it is. */
  readonly truncated?: unknown;
}

/** Live from here: what is fetched now and what is heard from now on leave no hole between them. */
export interface Ready {
  readonly id: string;
  /** Whether everything since then was heard: after a reconnect, or from `since` on. */
  readonly recovered: boolean;
}

/** Call it to end it; a second call is harmless. */
export interface Subscription {
  (): void;
  /** Rejects with a `ClientError` when it is refused or ends before. */
  readonly ready: Promise<Ready>;
}

export interface RequestOptions {
  signal?: AbortSignal | undefined;
}

export interface SubscribeOptions extends RequestOptions {
  /** Also what was published after this id. */
  since?: string | undefined;
  /** Messages may be missing, or one was too large. */
  onGap?: ((gap: Gap) => void) | undefined;
  /** Refreshes on this channel, to those who follow it by messages. */
  onRefresh?: ((refresh: Refresh) => void) | undefined;
}

/** Where a room is: in a refresh namespace, or within a channel. */
export type Place = { readonly namespace: string } | { readonly channel: string };
