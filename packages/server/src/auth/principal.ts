import type { ChannelName, RoomName } from "@carillon/protocol";

/** Who a connection or a call belongs to, and what their credentials grant. */
export interface Principal {
  /** The user's id; `undefined` for an anonymous connection, which only `AUTH=off` knows. */
  readonly user: string | undefined;
  readonly roles: readonly string[];
  readonly tenant: string | undefined;
  /** The session that the token belongs to, by which it can be revoked alone. */
  readonly sid: string | undefined;
  /** `open`: nobody checks, `AUTH=off`. */
  readonly kind: "open" | "user";
  readonly grants: Grants;
  /** When the credentials end, in milliseconds since 1970; `undefined` for never, which only `AUTH=off` knows. */
  readonly expiresMs: number | undefined;
  /** When they were issued; 0 where they do not say, which counts as before any revocation. */
  readonly issuedMs: number;
}

/** What a name must match; a claim that is absent grants nothing. */
export interface Grants {
  readonly channels: (channel: ChannelName) => boolean;
  readonly publish: (channel: ChannelName) => boolean;
  readonly rooms: (room: RoomName) => boolean;
  /** The patterns behind them, for a ticket that carries them to another node; absent where everything is granted. */
  readonly lists?: GrantLists;
}

export interface GrantLists {
  readonly channels: readonly string[];
  readonly publish: readonly string[];
  readonly rooms: readonly string[];
}

/** What a client presents when it connects. */
export interface Credentials {
  /** The `auth` object of the Socket.IO handshake, as it came. */
  readonly auth: Readonly<Record<string, unknown>>;
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
}

/** Who is it? Throws `CarillonError` with one of the documented codes. */
export interface Authenticator {
  authenticate(credentials: Credentials): Promise<Principal>;
}

/** May they? The one place that every path asks: live, catch-up, resumed sessions, history, REST. */
export interface Policy {
  mayEnter(principal: Principal, namespace: string): boolean;
  mayHear(principal: Principal, channel: ChannelName): boolean;
  mayJoin(principal: Principal, channel: ChannelName, room: RoomName): boolean;
  mayPublish(principal: Principal, channel: ChannelName): boolean;
  mayOperate(principal: Principal): boolean;
}
