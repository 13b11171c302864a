/** What publishers need in Postgres: a table whose inserts are heard. */
import { type PostgresServer, waitFor } from "@carillon/testkit";
import { chaosTable, createTable, watchTable } from "../load/postgres.ts";

/** After the nodes' own migrations. */
export async function prepareDatabase(postgres: PostgresServer): Promise<void> {
  await waitFor(
    async () => (await postgres.query("select to_regprocedure('carillon.unwatch(regclass)') as it"))[0]?.it,
    {
      what: "the nodes to have brought the schema carillon",
      timeoutMs: 30_000,
    },
  );
  await postgres.query(`${createTable}; ${watchTable}`);
}

/** The same calls, as applications on the stock stack have them: all of them NOTIFY. */
export async function prepareStockDatabase(postgres: PostgresServer): Promise<void> {
  await postgres.query(`
    create schema carillon;
    create function carillon.publish(channel text, payload jsonb) returns void language sql
      as $$ select pg_notify(channel, payload::text) $$;
    create function carillon.refresh(namespace text, scope text) returns void language sql
      as $$ select pg_notify('refresh.' || namespace, scope) $$;
    ${createTable};
    create function ${chaosTable}_trigger() returns trigger language plpgsql as $$
      begin
        perform pg_notify('orders', json_build_object('op', tg_op, 'row', row_to_json(new))::text);
        return null;
      end $$;
    create trigger ${chaosTable}_trigger after insert on ${chaosTable} for each row execute function ${chaosTable}_trigger();`);
}
