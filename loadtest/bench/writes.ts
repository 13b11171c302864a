import { noLogger } from "@carillon/core";
import { migrate } from "@carillon/postgres";
import { NodeServer, startPostgres } from "@carillon/testkit";
import type { Bench, BenchOptions } from "./bench.ts";
import { pgbench } from "./pgbench.ts";
import { median, spread, type Table } from "./table.ts";

const WRITERS = [1, 8, 32];
const TABLES = ["plain", "watched", "notified"] as const;
type TableName = (typeof TABLES)[number];

export const COLUMNS =
  "(id bigint generated always as identity primary key, customer text, status text, total numeric, note text)";
export const ROW = "(customer, status, total, note) values ('customer 42', 'NEW', 19.90, 'leave it at the door')";

const SCHEMA = `
  create table plain ${COLUMNS};
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

/**
 * The machine's own disk, and one that takes as long to flush as networked disks do. With nobody who reads the outbox, what is left
 * is the triggers' own cost: a node elsewhere takes none of Postgres' cores but for its queries.
 */
const SETUPS = [
  { name: "flush as fast as this disk", settings: {}, reads: true },
  { name: "flush as fast as this disk, nobody reads the outbox", settings: {}, reads: false },
  { name: "flush takes 2 ms more", settings: { commit_delay: "2000", commit_siblings: "0" }, reads: true },
];

/** Inserts a second, one row a transaction, while a node on the same machine reads the outbox: what capturing costs the application. */
export const writes: Bench = {
  name: "writes",
  about: "inserts a second: plain table, watched table, row trigger with pg_notify",
  async run(options) {
    const tables: Table[] = [];
    for (const setup of SETUPS) tables.push(await inSetup(setup, options));
    return tables;
  },
};

async function inSetup(setup: (typeof SETUPS)[number], { rounds, seconds, progress }: BenchOptions): Promise<Table> {
  // As in production: commits wait for the disk.
  const postgres = await startPostgres({ fsync: true, settings: setup.settings });
  const rates = new Map<string, number[]>();
  try {
    const url = await postgres.createDatabase();
    await migrate(url, { logger: noLogger });
    await postgres.query(SCHEMA, [], url);
    const node = new NodeServer({ DATABASE_URL: url });
    if (setup.reads) await node.start();
    for (let round = 1; round <= rounds; round++) {
      for (const writers of WRITERS) {
        for (const table of TABLES) {
          const rate = await inserts(url, table, writers, seconds);
          rates.set(`${table} ${writers}`, [...(rates.get(`${table} ${writers}`) ?? []), rate]);
          progress(`${setup.name}, round ${round} of ${rounds}: ${table}, ${writers} writers, ${Math.round(rate)}/s`);
        }
      }
    }
    await node.stop();
  } finally {
    await postgres.stop();
  }
  return toTable(setup.name, rates);
}

function toTable(setup: string, rates: ReadonlyMap<string, readonly number[]>): Table {
  const of = (table: TableName, writers: number) => rates.get(`${table} ${writers}`) ?? [];
  return {
    title: `writes, ${setup}: inserts a second, median (range); ratios to the plain table in the same run`,
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
  };
}

function inserts(url: string, table: TableName, writers: number, seconds: number): Promise<number> {
  return pgbench({ url, sql: `insert into ${table} ${ROW};`, writers, seconds });
}
