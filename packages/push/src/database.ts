/** Postgres as this package uses it: single statements and short transactions on a pool, failing with what a caller can act on. */
import { CarillonError } from "@carillon/protocol";
import pg from "pg";
import type { Client } from "./jobs.ts";

export type Pool = Pick<pg.Pool, "connect" | "query">;

export interface Statement {
  readonly text: string;
  readonly values?: readonly unknown[];
  /** For the few that may take long; default: the pool's own. */
  readonly timeoutMs?: number;
}

// biome-ignore lint/suspicious/noExplicitAny: each statement knows its columns
export type Rows = Record<string, any>[];

export class Database {
  readonly #pool: Pool;

  constructor(pool: Pool) {
    this.#pool = pool;
  }

  /** Throws `DATABASE_UNAVAILABLE`, and `INVALID_REQUEST` for text that Postgres cannot store. */
  async rows(statement: Statement | string): Promise<Rows> {
    return run(this.#pool, statement);
  }

  /** Throws what `work` throws, and what `rows` throws. After that nothing of it happened, unless it was the commit that got no answer. */
  async transaction<T>(work: (transaction: Transaction) => Promise<T>): Promise<T> {
    const client = await this.#pool.connect().catch((error: unknown) => {
      throw failure(error);
    });
    // A pool listens to idle connections only, and an error that nobody listens to ends the process. The query under way says it too.
    const ignore = () => {};
    client.on("error", ignore);
    let broken = false;
    try {
      // Whatever the default is: what a serializable transaction reads can make others fail that write it.
      await run(client, "begin isolation level read committed");
      const result = await work({ client, rows: (statement) => run(client, statement) });
      await run(client, "commit");
      return result;
    } catch (error) {
      // Whoever waits for a connection must not get one that is still busy with what took too long.
      broken =
        error instanceof CarillonError && error.cause instanceof Error && !(error.cause instanceof pg.DatabaseError);
      if (!broken) await client.query("rollback").catch(() => (broken = true));
      throw error;
    } finally {
      client.off("error", ignore);
      client.release(broken);
    }
  }
}

export interface Transaction {
  /** For those who bring their own statements. */
  readonly client: Client;
  rows(statement: Statement | string): Promise<Rows>;
}

async function run(client: Client, statement: Statement | string): Promise<Rows> {
  const { text, values = [], timeoutMs } = typeof statement === "string" ? { text: statement } : statement;
  const config = { text, values: [...values], ...(timeoutMs !== undefined && { query_timeout: timeoutMs }) };
  try {
    return (await client.query(config)).rows;
  } catch (error) {
    throw failure(error);
  }
}

/** SQLSTATE classes and codes of a Postgres that works again later: connections, resources, operators, deadlocks, a schema to come. */
const LATER = /^(?:08|53|57|58|40|55P03|25006|42P01|42883|3F000)/;
const UNSTORABLE = new Set(["22021", "22P05", "22P02"]);

function failure(error: unknown): unknown {
  if (!(error instanceof pg.DatabaseError)) {
    return new CarillonError("DATABASE_UNAVAILABLE", undefined, { retryAfterS: 1, cause: error });
  }
  const code = error.code ?? "";
  if (LATER.test(code)) return new CarillonError("DATABASE_UNAVAILABLE", undefined, { retryAfterS: 1, cause: error });
  if (UNSTORABLE.has(code)) {
    return new CarillonError("INVALID_REQUEST", "the text has characters that Postgres cannot store", { cause: error });
  }
  return error;
}
