/** The notification service: one event becomes an inbox entry for each of its users, refreshes, and pushes that fall due. */
import { randomUUID } from "node:crypto";
import type { Meter } from "@carillon/core";
import { CarillonError, type PushContent, stringifyJson } from "@carillon/protocol";
import type { Database, Transaction } from "./database.ts";

export interface Notification {
  /** Absent: everybody with a device or an inbox entry. */
  readonly userIds: readonly string[] | undefined;
  readonly type: string;
  readonly title: string;
  readonly body: string;
  readonly data?: Readonly<Record<string, unknown>> | undefined;
  /** Whether devices get it at all, or what they get instead of title, body and data. */
  readonly push: boolean | PushContent;
  /** Of a channel that the caller publishes on itself: what NOTIFY_ROUTES says of it is left out. */
  readonly butChannel?: string;
}

export interface Notified {
  readonly eventId: string;
  readonly entries: number;
}

/** An Idempotency-Key with what must be equal. */
export interface Token {
  readonly key: string;
  readonly fingerprint: string;
}

/** Everybody may be very many. */
const STORE_TIMEOUT_MS = 60_000;

export class Notifications {
  readonly #database: Pick<Database, "transaction">;
  readonly #meter: Pick<Meter, "count">;

  constructor({ database, meter }: { database: Pick<Database, "transaction">; meter: Pick<Meter, "count"> }) {
    this.#database = database;
    this.#meter = meter;
  }

  /** Throws `IDEMPOTENCY_KEY_REUSED` and what the database throws. */
  async notify(notification: Notification, token?: Token): Promise<Notified> {
    const event = { id: randomUUID(), ...notification };
    return this.#database.transaction(async (transaction) => {
      const known = token === undefined ? undefined : await claim(transaction, token, event.id);
      if (known !== undefined) return known;
      const entries = await this.#store(transaction, event);
      if (token !== undefined) await remember(transaction, token, entries);
      return { eventId: event.id, entries };
    });
  }

  /**
   * Stores events that belong to publications if and only if `publish` succeeds, which gets the events' ids in their order. So a
   * publication may be heard a moment before its entry can be read; the refresh on `notifications` comes after.
   */
  async alongside<T>(
    notifications: readonly Notification[],
    token: Token | undefined,
    publish: (eventIds: readonly string[]) => Promise<T>,
  ): Promise<T> {
    return this.#database.transaction(async (transaction) => {
      const batchId = randomUUID();
      const known = token === undefined ? undefined : await claim(transaction, token, batchId);
      // A repetition publishes again, which the log answers with what it has; for that it must be the same in every detail.
      const eventIds = notifications.map((_, index) => `${known?.eventId ?? batchId}:${index}`);
      if (known === undefined) {
        for (const [index, notification] of notifications.entries()) {
          await this.#store(transaction, { id: eventIds[index] ?? "", ...notification });
        }
      }
      return publish(eventIds);
    });
  }

  async #store(transaction: Transaction, event: Notification & { readonly id: string }): Promise<number> {
    const { id, userIds, type, title, body, data = {}, push, butChannel } = event;
    const pushed = typeof push === "object" ? stringifyJson(push) : null;
    const [row] = await transaction.rows({
      text: "select carillon.store_event($1, $2, $3, $4, $5, $6, $7, $8, $9) as entries",
      values: [id, userIds ?? null, type, title, body, stringifyJson(data), pushed, push !== false, butChannel ?? null],
      timeoutMs: STORE_TIMEOUT_MS,
    });
    this.#meter.count("notifications");
    return Number(row?.entries);
  }
}

/** What the key's first request was answered; `undefined` when this is the first. Waits for one that is under way. */
async function claim(transaction: Transaction, token: Token, eventId: string): Promise<Notified | undefined> {
  const claimed = await transaction.rows({
    text: `insert into carillon.notify_request as known (key, fingerprint, event_id, entries) values ($1, $2, $3, 0)
      on conflict (key) do update
        set fingerprint = excluded.fingerprint, event_id = excluded.event_id, entries = 0, at = excluded.at
        where known.at < clock_timestamp() - interval '24 hours'
      returning 1`,
    values: [token.key, token.fingerprint, eventId],
  });
  if (claimed.length > 0) return undefined;
  const [known] = await transaction.rows({
    text: "select fingerprint, event_id, entries from carillon.notify_request where key = $1",
    values: [token.key],
  });
  if (known?.fingerprint !== token.fingerprint) throw new CarillonError("IDEMPOTENCY_KEY_REUSED");
  return { eventId: known.event_id, entries: known.entries };
}

async function remember(transaction: Transaction, token: Token, entries: number): Promise<void> {
  await transaction.rows({
    text: "update carillon.notify_request set entries = $2 where key = $1",
    values: [token.key, entries],
  });
}
