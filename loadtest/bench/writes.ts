import { migrate } from "@carillon/postgres";
import { NodeServer, startPostgres } from "@carillon/testkit";
import type { Bench } from "./bench.ts";
import { pgbench } from "./pgbench.ts";
import { median, spread } from "./table.ts";

const WRITERS = [1, 8, 32];
const TABLES = ["plain", "watched", "notified"] as const;
type TableName = (typeof TABLES)[number];

const SCHEMA = `
  create table plain (id bigint generated always as identity primary key, customer text, status text, total numeric, note text);
  create table watched (like plain including all);
  create table notified (like plain including all);
  create function notify_row() returns trigger language plpgsql as $$
  begin
    perform pg_notify('bench', json_build_object('op', tg_op, 'id', new.id, 'row', row_to_json(new))::text);
    return new;
  end $$;
  create trigger notified_row after insert on notified for each row execute function notify_row();
  select carillon.watch('watched', 'bench');
`;

/** Inserts a second, one row a transaction, while a node reads the outbox: what capturing costs the application. */
export const writes: Bench = {
  name: "writes",
  about: "inserts a second: plain table, watched table, row trigger with pg_notify",
  async run({ rounds, seconds, progress }) {
    // As in production: commits wait for the disk.
    const postgres = await startPostgres({ fsync: true });
    const rates = new Map<string, number[]>();
    try {
      const url = await postgres.createDatabase();
      await migrate(url, { logger: console });
      await postgres.query(SCHEMA, [], url);
      const node = new NodeServer({ DATABASE_URL: url });
      await node.start();
      for (let round = 1; round <= rounds; round++) {
        for (const writers of WRITERS) {
          for (const table of TABLES) {
            const rate = await inserts(url, table, writers, seconds);
            rates.set(`${table} ${writers}`, [...(rates.get(`${table} ${writers}`) ?? []), rate]);
            progress(`round ${round} of ${rounds}: ${table}, ${writers} writers, ${Math.round(rate)}/s`);
          }
        }
      }
      await node.stop();
    } finally {
      await postgres.stop();
    }
    const of = (table: TableName, writers: number) => rates.get(`${table} ${writers}`) ?? [];
    return [
      {
        title: "writes: inserts a second, median (range); ratios to the plain table in the same run",
        columns: ["writers", "plain", "watched", "ratio", "row trigger with pg_notify", "ratio"],
        rows: WRITERS.map((writers) => {
          const plain = median(of("plain", writers));
          return [
            writers,
            spread(of("plain", writers), 0),
            spread(of("watched", writers), 0),
            (median(of("watched", writers)) / plain).toFixed(2),
            spread(of("notified", writers), 0),
            (median(of("notified", writers)) / plain).toFixed(2),
          ];
        }),
      },
    ];
  },
};

function inserts(url: string, table: TableName, writers: number, seconds: number): Promise<number> {
  const sql = `insert into ${table} (customer, status, total, note) values ('customer 42', 'NEW', 19.90, 'leave it at the door');`;
  return pgbench({ url, sql, writers, seconds });
}
