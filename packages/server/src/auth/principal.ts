import type { ChannelName, RoomName } from "@carillon/protocol";

/** Who a connection belongs to, as its credentials said. */
export interface Principal {
  /** The user's id; `undefined` for an anonymous connection, which only `AUTH=off` knows. */
  readonly user: string | undefined;
  readonly roles: readonly string[];
  readonly tenant: string | undefined;
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
}
