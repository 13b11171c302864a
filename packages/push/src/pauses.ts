/** When nobody sends, on any node: kept in Postgres, which every node that sends has. */
import type { Platform } from "@carillon/protocol";
import type { Database } from "./database.ts";

/** `quota`: FCM asked for it. `configuration`: no repeating helps until somebody repairs it. `brake`: too many devices look dead. */
export type PauseCause = "quota" | "configuration" | "brake";
export type PauseScope = "all" | Platform;

export interface Pause {
  readonly scope: PauseScope;
  readonly cause: PauseCause;
  readonly reason: string;
  /** How long it still lasts. 0: it is over, and waits for something to arrive. */
  readonly leftMs: number;
}

const FIRST_MS = 30_000;
const LONGEST_MS = 900_000;

export class Pauses {
  readonly #database: Pick<Database, "rows">;

  constructor(database: Pick<Database, "rows">) {
    this.#database = database;
  }

  async current(): Promise<Pause[]> {
    const rows = await this.#database.rows(
      `select scope, cause, reason, greatest(0, extract(epoch from until_at - clock_timestamp()) * 1000)::float8 as "leftMs"
       from carillon.push_pause`,
    );
    return rows as Pause[];
  }

  /** For so long, or for a time that doubles with every time in a row. Several nodes that say so at once count once. */
  async pause(scope: PauseScope, cause: PauseCause, reason: string, forMs?: number): Promise<void> {
    await this.#database.rows({
      text: `insert into carillon.push_pause as p (scope, until_at, cause, reason, times)
       values ($1, clock_timestamp() + make_interval(secs => coalesce($5::float8, $4::float8) / 1000), $2, $3, 1)
       on conflict (scope) do update set cause = $2, reason = $3, times = p.times + 1,
         until_at = clock_timestamp() + make_interval(secs => coalesce($5::float8, least($4::float8 * 2 ^ least(p.times, 16), $6::float8)) / 1000)
       where p.until_at < clock_timestamp()`,
      values: [scope, cause, reason.slice(0, 300), FIRST_MS, forMs ?? null, LONGEST_MS],
    });
  }

  /** Something arrived: it is over. */
  async end(scope: PauseScope): Promise<void> {
    await this.#database.rows({ text: "delete from carillon.push_pause where scope = $1", values: [scope] });
  }
}
