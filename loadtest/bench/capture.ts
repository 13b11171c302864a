import { execFileSync, spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { noLogger } from "@carillon/core";
import { migrate } from "@carillon/postgres";
import { type PostgresServer, postgresBin, startPostgres, unprivilegedUser } from "@carillon/testkit";
import type { Bench } from "./bench.ts";
import type { Table } from "./table.ts";
import { COLUMNS, ROW } from "./writes.ts";

/** What a session sets up once is in both runs. */
const RUNS = [200, 1200] as const;
const RIGHTS = "security definer set search_path = pg_catalog, pg_temp";
const CATCHES = "exception when others then bodies := null; end";

interface Step {
  readonly name: string;
  readonly table: string;
  /** The trigger function's attributes and body; none for a table without a trigger, and for the one that is watched. */
  readonly trigger?: { readonly rights: string; readonly rows: boolean; readonly body: string };
}

/** Each is the one before it and one thing more. */
function steps(read: string): Step[] {
  const outbox = "insert into carillon.outbox (channel, payload) values ('bench', bodies[1])";
  // With many writers few get the lock.
  const hint = "if pg_try_advisory_xact_lock(1667330668, 1) then perform carillon.hint(); end if";
  const trigger = (name: string, table: string, rights: string, rows: boolean, body: string) => ({
    name,
    table,
    trigger: { rights, rows, body },
  });
  return [
    { name: "into a plain table", table: "plain" },
    trigger("a trigger for each statement", "called", "", false, ""),
    trigger("with the rights and the search_path of Carillon", "rights", RIGHTS, false, ""),
    trigger("a block that catches every failure", "catches", RIGHTS, false, `begin bodies := null; ${CATCHES};`),
    trigger("a transition table", "rows", RIGHTS, true, `begin bodies := null; ${CATCHES};`),
    trigger("the rows read as payloads", "reads", RIGHTS, true, `begin ${read}; ${CATCHES};`),
    trigger("a row of the outbox", "writes", RIGHTS, true, `begin ${read}; ${CATCHES}; ${outbox};`),
    trigger("a hint to the bridge", "hints", RIGHTS, true, `begin ${read}; ${CATCHES}; ${outbox}; ${hint};`),
    { name: "what decides between the cases: a watched table", table: "watched" },
  ];
}

/** Instructions of Postgres for one row written in a transaction of its own: they do not depend on what else the machine does. */
export const capture: Bench = {
  name: "capture",
  about: "instructions that a write takes in Postgres, and what each part of capturing it adds (needs valgrind)",
  async run({ progress }) {
    if (spawnSync("valgrind", ["--version"]).status !== 0)
      throw new Error("valgrind is needed: install it with `apt-get install valgrind`");
    const postgres = await startPostgres();
    const database = "capture";
    const url = await postgres.createDatabase(database);
    await migrate(url, { logger: noLogger });
    const inserts = await prepare(postgres, url);
    await postgres.stop();

    const count = (name: string, statement: (n: number) => string): number => {
      progress(name);
      return instructions(postgres.dataDir, database, statement);
    };
    const inserted = inserts.map(({ name, table }) => ({
      name,
      instructions: count(name, () => `insert into ${table} ${ROW};`),
    }));
    const updated = ["plain", "watched"].map((table) => ({
      name: `an update of a ${table} table`,
      instructions: count(`update of ${table}`, (n) => `update ${table} set status = '${n}' where id = 1;`),
    }));
    return [toTable("insert", inserted), toTable("update", updated)];
  },
};

async function prepare(postgres: PostgresServer, url: string): Promise<readonly Step[]> {
  await postgres.query(
    `create table watched ${COLUMNS};
     select carillon.watch('watched', 'bench');`,
    [],
    url,
  );
  const [row] = await postgres.query<{ read: string }>(
    "select carillon.quick_sql(w, 'INSERT') as read from carillon.watched w",
    [],
    url,
  );
  const all = steps(row?.read ?? "");
  for (const { table, trigger } of all) {
    if (table !== "watched") await postgres.query(`create table ${table} (like watched including all)`, [], url);
    if (trigger === undefined) continue;
    await postgres.query(
      `create function fire_${table}() returns trigger language plpgsql ${trigger.rights} as $$
         declare bodies text[]; known boolean;
         begin ${trigger.body} return null; end $$;
       create trigger fire after insert on ${table} ${trigger.rows ? "referencing new table as new_rows" : ""}
         for each statement execute function fire_${table}();`,
      [],
      url,
    );
  }
  return all;
}

/** By callgrind, in a server of one session. */
function instructions(dataDir: string, database: string, statement: (n: number) => string): number {
  const totals = RUNS.map((times) => {
    const out = join(dataDir, "callgrind.out"); // where the server's user may write
    const args = ["--tool=callgrind", `--callgrind-out-file=${out}`, join(postgresBin(), "postgres")];
    execFileSync("valgrind", [...args, "--single", "-D", dataDir, "-c", "synchronous_commit=off", database], {
      ...unprivilegedUser(),
      cwd: "/",
      input: Array.from({ length: times }, (_, n) => `${statement(n)}\n`).join(""),
      stdio: ["pipe", "ignore", "ignore"],
    });
    return Number(/^(?:summary|totals): (\d+)/m.exec(readFileSync(out, "utf8"))?.[1]);
  });
  const [few = Number.NaN, many = Number.NaN] = totals;
  return (many - few) / (RUNS[1] - RUNS[0]);
}

function toTable(what: string, measured: readonly { readonly name: string; readonly instructions: number }[]): Table {
  return {
    title: `capture: thousands of instructions for one ${what}, each line with one thing more than the line before`,
    columns: ["", "all", "this adds"],
    rows: measured.map(({ name, instructions }, i) => {
      const before = measured[i - 1]?.instructions ?? instructions;
      return [name, thousands(instructions), thousands(instructions - before)];
    }),
  };
}

const thousands = (count: number): string => (count / 1000).toFixed(0);
