/** Publishes from Postgres: durably by carillon's functions and by a watched table, and at most once by NOTIFY. */
import pg from "pg";
import { scopeOfTag } from "../names.ts";
import type { Ingress } from "./ingress.ts";
import { type Ledger, Refused } from "./ledger.ts";

export type PostgresForm = "publish" | "refresh" | "notify" | "insert";

export interface PostgresIngressOptions {
  readonly url: string;
  readonly ledger: Ledger;
  readonly form: PostgresForm;
}

interface Statement {
  readonly sql: string;
  readonly channel: string;
  readonly promised: boolean;
  readonly value: (tag: string) => string;
}

export const chaosTable = "chaos_orders";
export const createTable = `create table ${chaosTable} (id bigint generated always as identity primary key, tag text not null)`;
export const watchTable = `select carillon.watch('${chaosTable}', 'orders')`;

const asPayload = (tag: string): string => JSON.stringify({ tag });
const statements: Readonly<Record<PostgresForm, Statement>> = {
  publish: { sql: "select carillon.publish('chat', $1::jsonb)", channel: "chat", promised: true, value: asPayload },
  refresh: { sql: "select carillon.refresh('trips', $1)", channel: "trips", promised: true, value: scopeOfTag },
  notify: { sql: "select pg_notify('chat', $1)", channel: "chat", promised: false, value: asPayload },
  insert: {
    sql: `insert into ${chaosTable} (tag) values ($1)`,
    channel: "orders",
    promised: true,
    value: (tag) => tag,
  },
};

/** Without an answer until then nobody knows whether it was committed. */
const queryTimeoutMs = 5_000;

export class PostgresIngress implements Ingress {
  readonly name: string;
  readonly weight = 1;
  readonly lanes = 1;
  readonly #options: PostgresIngressOptions;
  #client: pg.Client | undefined;

  constructor(options: PostgresIngressOptions) {
    this.#options = options;
    this.name = `pg-${options.form}-`;
  }

  publish(tag: string): Promise<void> {
    const { sql, channel, promised, value } = statements[this.#options.form];
    return this.#options.ledger.record({ tag, channel, promised }, async () => {
      const client = await this.#connected();
      try {
        await client.query(sql, [value(tag)]);
      } catch (error) {
        // Postgres said no, and the connection lives: nothing was committed. Else nobody knows.
        const said = error instanceof pg.DatabaseError && error.severity === "ERROR";
        if (!said) this.#forget(client);
        throw said ? new Refused(error.message) : error;
      }
      return undefined;
    });
  }

  async close(): Promise<void> {
    await this.#client?.end().catch(() => {});
  }

  async #connected(): Promise<pg.Client> {
    if (this.#client !== undefined) return this.#client;
    const client = new pg.Client({
      connectionString: this.#options.url,
      connectionTimeoutMillis: 3_000,
      query_timeout: queryTimeoutMs,
      application_name: "chaos-publisher",
    });
    client.on("error", () => this.#forget(client));
    try {
      await client.connect();
    } catch (error) {
      // So that a lane does not spin while Postgres is away.
      await new Promise((resolve) => setTimeout(resolve, 200));
      throw new Refused(String(error));
    }
    this.#client = client;
    return client;
  }

  #forget(client: pg.Client): void {
    if (this.#client === client) this.#client = undefined;
    void client.end().catch(() => {});
  }
}
