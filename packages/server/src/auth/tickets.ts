/**
 * Tickets for clients that can't set a header: good once, for 30 seconds, with the rights of who asked. A ticket in a URL may land
 * in somebody's log; by then it is worth nothing. The store knows only its hash.
 */
import { createHash, randomBytes } from "node:crypto";
import type { TicketStore, TicketUse } from "@carillon/core";
import { CarillonError, isPlainObject, isPrincipalId, readJson } from "@carillon/protocol";
import type { RevocationCheck } from "./authenticator.ts";
import { LEEWAY_S } from "./claims.ts";
import { openPrincipal } from "./open.ts";
import type { Patterns } from "./patterns.ts";
import type { Principal } from "./principal.ts";

export interface TicketsOptions {
  readonly store: TicketStore;
  readonly revocations: RevocationCheck;
  readonly patterns: Patterns;
  /** `AUTH=off`: tickets of anonymous users exist here and nowhere else. */
  readonly open: boolean;
}

export interface IssuedTicket {
  readonly ticket: string;
  readonly expiresMs: number;
}

export const TICKET_LIFETIME_MS = 30_000;
const TICKET = /^[A-Za-z0-9_-]{43}$/;
/** How long a stream may come back with its ticket where its user's credentials never end. */
const OPEN_STREAM_MS = 86_400_000;

export class Tickets {
  readonly #options: TicketsOptions;

  constructor(options: TicketsOptions) {
    this.#options = options;
  }

  /** Throws `BUS_UNAVAILABLE`, or `TOKEN_EXPIRED` for a principal whose credentials are over. */
  async issue(principal: Principal): Promise<IssuedTicket> {
    const now = Date.now();
    const endMs = principal.expiresMs === undefined ? now + OPEN_STREAM_MS : endOf(principal.expiresMs);
    const untilMs = Math.min(now + TICKET_LIFETIME_MS, endMs);
    if (untilMs <= now) throw new CarillonError("TOKEN_EXPIRED");
    const ticket = randomBytes(32).toString("base64url");
    await this.#options.store.put(keyOf(ticket), { text: write(principal), untilMs, streamUntilMs: endMs });
    return { ticket, expiresMs: untilMs };
  }

  /**
   * Who asked for it, if that may still be believed. `once` for `/ws`; the same ticket opens the same stream again until
   * the token's `exp`. Throws `UNAUTHENTICATED`, `TOKEN_EXPIRED`, `REVOKED`, `NOT_READY` or `BUS_UNAVAILABLE`.
   */
  async redeem(ticket: unknown, use: TicketUse): Promise<Principal> {
    const { store, revocations } = this.#options;
    if (typeof ticket !== "string" || !TICKET.test(ticket)) throw unknownTicket();
    if (!revocations.loaded)
      throw new CarillonError("NOT_READY", "it is not known yet who was logged out", { retryAfterS: 1 });
    const text = await store.redeem(keyOf(ticket), use);
    const principal = text === undefined ? undefined : this.#read(text);
    if (principal === undefined) throw unknownTicket();
    if (principal.expiresMs !== undefined && endOf(principal.expiresMs) <= Date.now())
      throw new CarillonError("TOKEN_EXPIRED");
    if (principal.kind === "user" && revocations.isRevoked(principal)) throw new CarillonError("REVOKED");
    return principal;
  }

  /** What another version of a node wrote in another form is no ticket here. */
  #read(text: string): Principal | undefined {
    const value = readJson(text);
    if (!isPlainObject(value)) return undefined;
    const { kind, user, roles, tenant, sid, expiresMs, issuedMs, lists } = value;
    const isOptionalId = (id: unknown): id is string | undefined => id === undefined || isPrincipalId(id);
    if (!Array.isArray(roles) || !roles.every(isPrincipalId)) return undefined;
    if (!isOptionalId(user) || !isOptionalId(tenant) || !isOptionalId(sid)) return undefined;
    if (kind === "open") return this.#options.open ? openPrincipal(user, roles, tenant) : undefined;
    if (user === undefined || !isPlainObject(lists)) return undefined;
    if (typeof expiresMs !== "number" || typeof issuedMs !== "number") return undefined;
    return {
      user,
      roles,
      tenant,
      sid,
      kind: "user",
      grants: this.#options.patterns.grants(lists),
      expiresMs,
      issuedMs,
    };
  }
}

function write({ kind, user, roles, tenant, sid, expiresMs, issuedMs, grants }: Principal): string {
  return JSON.stringify({ kind, user, roles, tenant, sid, expiresMs, issuedMs, lists: grants.lists });
}

/** Times that no clock reaches are not numbers in JSON. */
function endOf(expiresMs: number): number {
  return Math.min(expiresMs + LEEWAY_S * 1000, Number.MAX_SAFE_INTEGER);
}

function keyOf(ticket: string): string {
  return createHash("sha256").update(ticket).digest("base64url");
}

function unknownTicket(): CarillonError {
  return new CarillonError("UNAUTHENTICATED", "the ticket is unknown, used or older than 30 seconds");
}
