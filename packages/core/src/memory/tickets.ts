import type { StoredTicket, TicketStore, TicketUse } from "../tickets.ts";

const MAX = 100_000;

/** Tickets of a single node without Redis. */
export class MemoryTickets implements TicketStore {
  readonly #tickets = new Map<string, StoredTicket & { readonly stream?: TicketUse }>();

  async put(key: string, ticket: StoredTicket): Promise<void> {
    this.#sweep();
    this.#tickets.set(key, ticket);
    if (this.#tickets.size > MAX) this.#tickets.delete(this.#tickets.keys().next().value!);
  }

  async redeem(key: string, use: TicketUse): Promise<string | undefined> {
    const ticket = this.#tickets.get(key);
    if (ticket === undefined || (ticket.stream !== undefined && ticket.stream !== use)) return undefined;
    if (use === "once" || ticket.untilMs <= Date.now()) this.#tickets.delete(key);
    if (ticket.untilMs <= Date.now()) return undefined;
    if (use !== "once") this.#tickets.set(key, { ...ticket, untilMs: ticket.streamUntilMs, stream: use });
    return ticket.text;
  }

  #sweep(): void {
    const now = Date.now();
    for (const [key, { untilMs }] of this.#tickets) if (untilMs <= now) this.#tickets.delete(key);
  }
}
