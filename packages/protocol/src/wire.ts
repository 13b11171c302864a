/** Event names on the wire, in both directions. */
export const EVENT = {
  refresh: "refresh",
  notification: "notification",
  ready: "ready",
  gap: "gap",
  offset: "offset",
} as const;

export const REQUEST = {
  join: "join",
  leave: "leave",
  subscribe: "subscribe",
  unsubscribe: "unsubscribe",
  publish: "publish",
  state: "state",
  seen: "seen",
  authRefresh: "auth:refresh",
} as const;

/** The namespaces that carry any channel by subscription. */
export const CHANNEL_NAMESPACES: readonly string[] = ["/channels", "/"];

export type Ack =
  | ({ readonly ok: true } & Record<string, unknown>)
  | {
      readonly ok: false;
      readonly error: { readonly code: string; readonly message: string; readonly retryAfterS?: number };
    };
