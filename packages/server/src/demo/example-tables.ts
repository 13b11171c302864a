import { CarillonError } from "@carillon/protocol";
import type { Examples } from "../http/deps.ts";

/** What is used of a `pg` pool. */
export interface Queryable {
  query(text: string, values?: unknown[]): Promise<{ rows: Record<string, unknown>[] }>;
}

/** SQLSTATE of a table or column that doesn't exist. */
const MISSING = new Set(["42P01", "42703"]);

/** The statements behind the demo page's buttons, as an application would write them: plain inserts that know nothing of Carillon. */
export class ExampleTables implements Examples {
  readonly #database: Queryable;

  constructor(database: Queryable) {
    this.#database = database;
  }

  insertOrder(): Promise<Record<string, unknown>> {
    const cents = 500 + Math.floor(Math.random() * 9500);
    return this.#insert("INSERT INTO orders (customer, total, status) VALUES ($1, $2, 'new') RETURNING *", [
      "Ada",
      cents / 100,
    ]);
  }

  insertChatMessage(text: string): Promise<Record<string, unknown>> {
    return this.#insert("INSERT INTO chat_messages (author, body) VALUES ($1, $2) RETURNING *", ["demo", text]);
  }

  async #insert(statement: string, values: unknown[]): Promise<Record<string, unknown>> {
    try {
      const { rows } = await this.#database.query(statement, values);
      return rows[0] ?? {};
    } catch (error) {
      const code = (error as { code?: unknown }).code;
      if (typeof code === "string" && MISSING.has(code)) {
        throw new CarillonError(
          "NOT_CONFIGURED",
          "the example tables are not in this database; infra/postgres has them, and npm start makes them",
        );
      }
      throw error;
    }
  }
}
