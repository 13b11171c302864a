/** Commits come in another order than ids: nothing that is committed late is passed over, and a row's changes stay in their order. */
import { connectSql, type PostgresServer, type RedisServer, startPostgres, startRedis } from "@carillon/testkit";
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from "vitest";
import { allHear, type Ear, expectLogOrder, openEar } from "./support/ear.ts";
import { holderOf, openStage, type Sql, type Stage } from "./support/stage.ts";

let redis: RedisServer;
let postgres: PostgresServer;
let stage: Stage;
let ears: Ear[] = [];
const sessions: Sql[] = [];

beforeAll(async () => {
  [redis, postgres] = await Promise.all([startRedis({ appendonly: "always" }), startPostgres()]);
  stage = await openStage({ nodes: 2, redis, postgres });
  await stage.sql.query(`
    create table counters (id int primary key, n int not null default 0, writer int);
    insert into counters select generate_series(1, 4);
    select carillon.watch('counters', 'counters');
    insert into orders (customer) select 'customer ' || generate_series(1, 4)`);
});
beforeEach(async () => {
  ears = await Promise.all(
    ([0, 1] as const).map((node) =>
      openEar(stage.url, {
        name: `client at ${node}`,
        transport: node === 0 ? "polling" : "websocket",
        query: { node: `${node}` },
        channels: ["late", "counters", "orders"],
      }),
    ),
  );
});
afterEach(async () => {
  for (const ear of ears) ear.close();
  await Promise.all(sessions.splice(0).map((session) => session.end()));
});
afterAll(async () => {
  await stage?.stop();
  await Promise.all([redis?.stop(), postgres?.stop()]);
});

async function session(): Promise<Sql> {
  const sql = await connectSql(stage.databaseUrl);
  sessions.push(sql);
  return sql;
}

const say = (sql: Sql, text: string) => sql.query("select carillon.publish('late', to_jsonb($1::text))", [text]);

test("what takes its id first and commits last is delivered, and nobody waits for it", async () => {
  const [early, undone, other] = await Promise.all([session(), session(), session()]);
  await early.query("begin");
  await say(early, "early 1");
  await undone.query("begin");
  await say(undone, "undone");
  const before = Array.from({ length: 30 }, (_, n) => `other ${n}`);
  for (const text of before) await say(other, text);

  await allHear(ears, "everybody to hear what is committed", (ear) => ear.payloads("late").length === before.length);
  for (const ear of ears) expect(ear.payloads("late")).toEqual(before);
  await say(early, "early 2");
  await say(other, "between");
  await allHear(ears, "everybody to hear one more", (ear) => ear.payloads("late").includes("between"));
  await early.query("commit");
  await undone.query("rollback");
  await say(other, "after");

  const all = [...before, "between", "early 1", "early 2", "after"];
  await allHear(ears, "everybody to hear all", (ear) => ear.payloads("late").length >= all.length);
  for (const ear of ears) {
    expect(ear.payloads("late").toSorted()).toEqual(all.toSorted());
    expect(ear.payloads("late").filter((text) => text.startsWith("early"))).toEqual(["early 1", "early 2"]);
    expectLogOrder(ear);
  }
});

test("a transaction that is open while the bridge changes hands is delivered too", async () => {
  const [early, other] = await Promise.all([session(), session()]);
  await early.query("begin");
  await say(early, "early");
  for (let n = 0; n < 5; n++) await say(other, `before ${n}`);
  await allHear(ears, "everybody to hear what is committed", (ear) => ear.payloads("late").length === 5);

  const killed = await holderOf(stage.nodes, "bridge");
  await killed.kill();
  await say(other, "meanwhile");
  await early.query("commit");
  await killed.start();

  const all = [...Array.from({ length: 5 }, (_, n) => `before ${n}`), "early", "meanwhile"];
  await allHear(ears, "everybody to hear all", (ear) => ear.payloads("late").length >= all.length, 30_000);
  for (const ear of ears) expect(ear.payloads("late").toSorted()).toEqual(all.toSorted());
});

test("per-row order holds under 16 concurrent writers", async () => {
  const writers = 16;
  const writesEach = 40;

  await Promise.all(
    Array.from({ length: writers }, async (_, writer) => {
      const sql = await session();
      for (let n = 0; n < writesEach; n++) {
        // Two rows a transaction, with some time between, so that ids and commits get into each other's way.
        const first = 1 + ((writer + n) % 3);
        await sql.query("begin");
        await sql.query("update counters set n = n + 1, writer = $2 where id = $1", [first, writer]);
        await sql.query("update orders set total = total + 1 where id = $1", [first]);
        if (n % 4 === 0) await sql.query("select pg_sleep(0.002)");
        await sql.query("update counters set n = n + 1, writer = $2 where id = $1", [first + 1, writer]);
        await sql.query("commit");
      }
    }),
  );

  const total = writers * writesEach;
  const count = (ear: Ear) => ear.payloads("counters").length + ear.payloads("orders").length;
  await allHear(ears, "everybody to hear all", (ear) => count(ear) >= 3 * total, 30_000);
  const { rows: counters } = await stage.sql.query("select id, n from counters order by id");
  const { rows: orders } = await stage.sql.query("select id, total::int as n from orders where total > 0 order by id");
  for (const ear of ears) {
    expect(count(ear)).toBe(3 * total);
    for (const { id, n } of counters) {
      const heard = ear.payloads("counters").filter(({ key }) => key === `${id}`);
      expect(
        heard.map(({ row }) => Number(row.n)),
        `${ear.name}, counter ${id}`,
      ).toEqual(upTo(n));
      expect(
        heard.map(({ old }) => Number(old.n)),
        `${ear.name}, counter ${id}`,
      ).toEqual(upTo(n).map((i) => i - 1));
    }
    for (const { id, n } of orders) {
      const heard = ear.payloads("orders").filter((order) => order.id === `${id}`);
      expect(
        heard.map(({ total: sum }) => Number(sum)),
        `${ear.name}, order ${id}`,
      ).toEqual(upTo(n));
    }
    expectLogOrder(ear);
    expect(ear.heard.filter(({ event }) => event === "gap")).toEqual([]);
  }
});

const upTo = (n: number) => Array.from({ length: n }, (_, index) => index + 1);
