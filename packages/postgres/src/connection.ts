import type { Socket } from "node:net";
import pg from "pg";

export interface QueryOptions {
  /** Prepares the statement once for this connection. */
  readonly name?: string;
  /** For the few statements that may take long; default: the connection's own. */
  readonly silenceMs?: number;
}

/** Rows as arrays of Postgres's own text; `null` is SQL's null. */
export type Row = readonly (string | null)[];

export type Query = (text: string, values?: readonly unknown[], options?: QueryOptions) => Promise<Row[]>;

export interface ConnectionOptions {
  readonly connectionString: string;
  readonly applicationName: string;
  /** How long Postgres may say nothing while it owes an answer before the connection counts as dead. Default 4,000. */
  readonly silenceMs?: number;
  readonly onNotification?: (channel: string, payload: string) => void;
  /** Once, when the connection is gone for whatever reason but `close`. */
  readonly onLost: (reason: string) => void;
}

const SILENCE_MS = 4_000;

/**
 * A dead peer must not hold the lease, whichever way it is dead: each of these alone left one for over 40 s in some case. A frozen
 * process answers keepalives, a vanished one in the middle of an answer is not idle, an idle one owes nothing that could time out.
 * `statement_timeout` is below our own limit, so that a slow query is not taken for a dead connection. A window must be durable before
 * it is published, hence `synchronous_commit`. What a serializable transaction reads can make others fail that write it. Set after
 * connecting, since poolers refuse them at start-up.
 */
const SESSION = `
  set tcp_keepalives_idle = 2;
  set tcp_keepalives_interval = 1;
  set tcp_keepalives_count = 3;
  set tcp_user_timeout = 4000;
  set idle_session_timeout = 6000;
  set idle_in_transaction_session_timeout = 6000;
  set statement_timeout = 3000;
  set lock_timeout = 2000;
  set synchronous_commit = on;
  set default_transaction_isolation = 'read committed';
  set enable_seqscan = off;
  set search_path = pg_catalog, pg_temp;
`;

const asText = { getTypeParser: () => (value: string) => value };

/** One connection that knows when it is dead. Queries run in the order in which they are asked. */
export class Connection {
  readonly #client: pg.Client;
  readonly #options: ConnectionOptions;
  readonly #silenceMs: number;
  /** The unanswered queries; one that may take long holds up those behind it. */
  readonly #owed = new Set<{ readonly limitMs: number }>();
  #heardAt = 0;
  #watch: NodeJS.Timeout | undefined;
  #over = false;

  private constructor(options: ConnectionOptions) {
    this.#options = options;
    this.#silenceMs = options.silenceMs ?? SILENCE_MS;
    this.#client = new pg.Client({
      connectionString: options.connectionString,
      application_name: options.applicationName,
      connectionTimeoutMillis: this.#silenceMs,
      keepAlive: true,
      keepAliveInitialDelayMillis: 2_000,
      types: asText as unknown as pg.CustomTypesConfig,
    });
    this.#client.on("error", (error) => this.#lose(error.message));
    this.#client.on("end", () => this.#lose("the connection ended"));
    this.#client.on("notification", ({ channel, payload }) => options.onNotification?.(channel, payload ?? ""));
  }

  /** Throws what Postgres or the network says. */
  static async open(options: ConnectionOptions): Promise<Connection> {
    const connection = new Connection(options);
    try {
      await connection.#client.connect();
      connection.#stream.on("data", () => {
        connection.#heardAt = performance.now();
      });
      connection.#watch = setInterval(() => connection.#checkSilence(), connection.#silenceMs / 16);
      await connection.query(SESSION);
      return connection;
    } catch (error) {
      connection.#destroy();
      throw error;
    }
  }

  readonly query: Query = async (text, values, options = {}) => {
    if (this.#owed.size === 0) this.#heardAt = performance.now();
    const owed = { limitMs: options.silenceMs ?? this.#silenceMs };
    this.#owed.add(owed);
    try {
      const result = await this.#client.query<string[]>({
        text,
        rowMode: "array",
        ...(values !== undefined && { values: [...values] }),
        ...(options.name !== undefined && { name: options.name }),
      });
      const last = Array.isArray(result) ? (result.at(-1) as typeof result) : result;
      return last.rows;
    } finally {
      this.#owed.delete(owed);
    }
  };

  /** Ends it without telling `onLost`. Asks Postgres nicely, within a second. */
  async close(): Promise<void> {
    if (this.#over) return;
    this.#over = true;
    clearInterval(this.#watch);
    const timer = setTimeout(() => this.#stream.destroy(), 1_000);
    await this.#client.end().catch(() => {});
    clearTimeout(timer);
    this.#stream.destroy();
  }

  get #stream(): Socket {
    return (this.#client as unknown as { connection: { stream: Socket } }).connection.stream;
  }

  #checkSilence(): void {
    if (this.#owed.size === 0) return;
    const silentMs = performance.now() - this.#heardAt;
    const limitMs = Math.max(...[...this.#owed].map((owed) => owed.limitMs));
    if (silentMs > limitMs) this.#lose(`no answer for ${Math.round(silentMs)} ms`);
  }

  #lose(reason: string): void {
    if (this.#over) return;
    this.#destroy();
    this.#options.onLost(reason);
  }

  /** Without a goodbye: a peer that does not answer would not read it. Queries under way reject. */
  #destroy(): void {
    this.#over = true;
    clearInterval(this.#watch);
    this.#stream.destroy();
  }
}
