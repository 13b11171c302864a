/** What a ticket stands for, kept for a moment where every node can take it. */
export interface TicketStore {
  /** `key` is no secret: a hash of the ticket. Throws `BUS_UNAVAILABLE`. */
  put(key: string, ticket: StoredTicket): Promise<void>;
  /**
   * For `once` it is gone then. For a stream it is kept for that very stream until `streamUntilMs`, and for nothing else: a
   * browser's event stream comes back with the URL that it began with. Never redeems one `once` twice, whatever is lost on the way.
   */
  redeem(key: string, use: TicketUse): Promise<string | undefined>;
}

/** A stream is named by what it carries, without spaces. */
export type TicketUse = "once" | `stream:${string}`;

export interface StoredTicket {
  readonly text: string;
  /** Until when it must be redeemed first, in milliseconds since 1970. */
  readonly untilMs: number;
  readonly streamUntilMs: number;
}
