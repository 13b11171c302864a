/**
 * What happens to connections when their credentials end, are renewed, or are revoked. Closing is always of the transport: stock
 * clients come back from that by themselves with what they have then, and hear of a refusal if it is not enough.
 */
import type { Logger, Meter, Revocation } from "@carillon/core";
import { CarillonError } from "@carillon/protocol";
import { LEEWAY_S } from "../auth/claims.ts";
import type { Authenticator, Policy, Principal } from "../auth/principal.ts";
import type { Connection } from "./connection.ts";
import { leaveRoom } from "./membership.ts";
import { channelRoom, identityRooms } from "./rooms.ts";

export interface CredentialWatchOptions {
  readonly authenticator: Authenticator;
  readonly policy: Policy;
  readonly connections: () => Iterable<Connection>;
  /** Those on its transport, itself among them: any client may ask often, and a node has thousands of others. */
  readonly companions: (connection: Connection) => Iterable<Connection>;
  /** The session record no longer has what was taken away. */
  readonly save: (connection: Connection) => Promise<void>;
  readonly meter: Meter;
  readonly logger: Logger;
}

/** One look at all connections costs less than a timer for each, and no expiry is too far away for it. */
const LOOK_EVERY_MS = 1000;

export class CredentialWatch {
  readonly #options: CredentialWatchOptions;
  /** Told to close; those of clients that do not read take a moment. */
  readonly #closing = new WeakSet<Connection>();
  #timer: NodeJS.Timeout | undefined;

  constructor(options: CredentialWatchOptions) {
    this.#options = options;
  }

  start(): void {
    this.#timer = setInterval(() => this.#closeExpired(), LOOK_EVERY_MS);
  }

  stop(): void {
    clearInterval(this.#timer);
  }

  /** A renewed token for every connection on the transport. Throws what authenticating throws, and `FORBIDDEN` for another user's. */
  async renew(connection: Connection, token: string): Promise<void> {
    const before = connection.principal;
    if (before.kind === "open") return;
    const { authenticator, meter } = this.#options;
    const principal = await authenticator.authenticate({ auth: { token }, headers: {} });
    if (principal.user !== before.user) {
      meter.count("drops", 1, { reason: "token_of_another_user" });
      // After the answer: whoever mixes users up on one connection must not go on with either.
      setImmediate(() => connection.transport.close("FORBIDDEN"));
      throw new CarillonError("FORBIDDEN", "the token is another user's");
    }
    for (const other of this.#options.companions(connection)) {
      this.#become(other, principal);
      // One that is joining judged by the old rights until just now.
      if (other.state !== "live") void other.whole.then(() => this.#become(other, principal));
    }
  }

  revoked({ user, sid, beforeMs, reason }: Revocation): void {
    const { connections, logger } = this.#options;
    let closed = 0;
    for (const connection of connections()) {
      const { principal } = connection;
      if (principal.user !== user || principal.issuedMs >= beforeMs || (sid !== undefined && principal.sid !== sid))
        continue;
      this.#close(connection, "REVOKED");
      closed++;
    }
    if (closed > 0) logger.info({ user, sid, reason, connections: closed }, "connections closed: revoked");
  }

  #closeExpired(): void {
    const now = Date.now() - LEEWAY_S * 1000;
    for (const connection of this.#options.connections()) {
      const { expiresMs } = connection.principal;
      if (expiresMs !== undefined && expiresMs <= now) this.#close(connection, "TOKEN_EXPIRED");
    }
  }

  #close(connection: Connection, why: "TOKEN_EXPIRED" | "REVOKED"): void {
    if (this.#closing.has(connection)) return;
    this.#closing.add(connection);
    this.#options.meter.count("credentialsClosed", 1, { reason: why === "REVOKED" ? "revoked" : "expired" });
    connection.transport.close(why);
  }

  /** Takes away at once what the new token does not grant. */
  #become(connection: Connection, principal: Principal): void {
    if (connection.state === "closed") return;
    const { policy, save, logger } = this.#options;
    const before = new Set(identityRooms(connection.principal));
    const now = new Set(identityRooms(principal));
    connection.principal = principal;
    const { socket, style } = connection;
    if (!policy.mayEnter(principal, style.namespace)) {
      socket.disconnect();
      return;
    }
    for (const room of before.difference(now)) void socket.leave(room);
    // Those who are not in their rooms yet, or no longer, enter them all by themselves.
    if (connection.state === "live") void socket.join([...now.difference(before)]);
    if (this.#takeAway(connection))
      save(connection).catch((error: unknown) => logger.debug({ err: error }, "saving a session record failed"));
  }

  #takeAway(connection: Connection): boolean {
    const { policy } = this.#options;
    const { principal, socket } = connection;
    let taken = false;
    for (const [channel, { release }] of connection.channels) {
      if (policy.mayHear(principal, channel)) continue;
      connection.channels.delete(channel);
      connection.removeReplay(channel);
      void socket.leave(channelRoom(channel));
      release();
      taken = true;
    }
    for (const [channel, rooms] of connection.rooms) {
      for (const room of rooms) {
        if (policy.mayJoin(principal, channel, room)) continue;
        connection.removeRoom(channel, room);
        leaveRoom(connection, channel, room);
        taken = true;
      }
    }
    return taken;
  }
}
