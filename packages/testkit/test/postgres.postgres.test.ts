import { randomBytes } from "node:crypto";
import { afterAll, beforeAll, expect, onTestFinished, test } from "vitest";
import {
  createTemplate,
  databaseUrl,
  type PostgresServer,
  queryAt,
  sharedDatabase,
  sharedPostgres,
  startPgBouncer,
  startPostgres,
} from "../src/index.ts";

let postgres: PostgresServer;

beforeAll(async () => {
  postgres = await startPostgres();
  await postgres.query("create table kept (n int)");
});
afterAll(() => postgres.stop());

test.for(["fast", "immediate", "kill"] as const)("committed rows survive: %s", async (how) => {
  await postgres.query("truncate kept; insert into kept values (7)");

  if (how === "kill") {
    await postgres.kill();
    await postgres.start();
  } else {
    await postgres.restart(how);
  }

  expect(await postgres.query("select n from kept")).toEqual([{ n: 7 }]);
});

test("a frozen Postgres answers when it is thawed", async () => {
  postgres.freeze();
  let answered = false;
  const answer = postgres.query("select 1 as one").then((rows) => {
    answered = true;
    return rows;
  });
  await new Promise((resolve) => setTimeout(resolve, 200));
  const early = answered;
  postgres.thaw();

  expect(early).toBe(false);
  expect(await answer).toEqual([{ one: 1 }]);
});

test("databases are copies of a template that is filled once", async () => {
  const name = `template_${randomBytes(4).toString("hex")}`;
  let fills = 0;
  const fill = async (url: string) => {
    fills += 1;
    await queryAt(url, "create table filled (n int); insert into filled values (1)");
  };

  const shared = await sharedPostgres();
  await Promise.all([createTemplate(shared, name, fill), createTemplate(shared, name, fill)]);
  const [one, two] = await Promise.all([sharedDatabase(name), sharedDatabase(name)]);
  await queryAt(one, "insert into filled values (2)");

  expect(fills).toBe(1);
  expect(await queryAt(one, "select count(*)::int as n from filled")).toEqual([{ n: 2 }]);
  expect(await queryAt(two, "select count(*)::int as n from filled")).toEqual([{ n: 1 }]);
});

test.for(["transaction", "session"] as const)("PgBouncer pools by %s", async (mode) => {
  const pooler = await startPgBouncer(postgres, mode);
  onTestFinished(() => pooler.stop());
  const database = await postgres.createDatabase();
  const name = new URL(database).pathname.slice(1);

  const rows = await queryAt(databaseUrl(pooler.url, name), "select current_database() as name");

  expect(rows).toEqual([{ name }]);
});
