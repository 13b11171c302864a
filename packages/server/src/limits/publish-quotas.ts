import type { Caller } from "../http/deps.ts";
import type { Quota } from "./quota.ts";

export interface PublishQuotasOptions {
  readonly key: Pick<Quota, "consume">;
  readonly user: Pick<Quota, "consume">;
  readonly ticket: Pick<Quota, "consume">;
}

/** How much each key and each user may publish. Who is not known, as under `AUTH=off`, is not counted. */
export class PublishQuotas {
  readonly #options: PublishQuotasOptions;

  constructor(options: PublishQuotasOptions) {
    this.#options = options;
  }

  /** Throws `RATE_LIMITED`. */
  async publish({ kind, name }: Pick<Caller, "kind" | "name">, publications = 1): Promise<void> {
    if (kind !== "open") await this.#options[kind].consume(`${kind}:${name}`, publications);
  }

  /** Throws `RATE_LIMITED`. */
  async ticket({ kind, name }: Pick<Caller, "kind" | "name">): Promise<void> {
    if (kind === "user") await this.#options.ticket.consume(`ticket:${name}`);
  }
}
