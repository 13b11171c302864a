/** The main job: one write, by whatever way it comes in, reaches every client on every node, exactly once and in one order. */
import { connectSql, type PostgresServer, type RedisServer, startPostgres, startRedis } from "@carillon/testkit";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { allHear, type Ear, expectLogOrder, openEars } from "./support/ear.ts";
import { openStage, post, type Sql, type Stage } from "./support/stage.ts";

/** What each client hears of a row: namespace, event and the event's first argument. */
type Told = [namespace: string, event: "refresh" | "notification", argument: unknown];

interface From {
  /** Of the node that is asked. */
  readonly url: string;
  readonly publish: Stage["publish"];
  /** A session of its own, and a watched table of its own. */
  readonly sql: Sql;
  readonly table: string;
}

interface Way {
  readonly name: string;
  /** `mark` is in everything that is told. */
  publish(from: From, mark: string): Promise<unknown>;
  /** In order where there are several in one namespace. */
  told(mark: string, table: string): Told[];
}

const ROUNDS = 6;
const NAMESPACES = ["/channels", "/trips", "/notifications"];
const CUSTOM = "plant.7";
const CHANNELS = ["chat", "orders", "audit", "items", CUSTOM];
const anyTime = expect.stringMatching(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/);

const refresh = (namespace: string, scope: string): Told => [namespace, "refresh", { type: "REFRESH", scope }];
const message = (channel: string, payload: unknown): Told => [
  "/channels",
  "notification",
  { channel, payload, timestamp: anyTime },
];
const item = (op: string, table: string, more: object) =>
  message("items", { op, schema: "public", table, key: expect.any(String), ...more });
const row = (name: string, n: string) => ({ id: expect.any(String), name, n });

const WAYS: Way[] = [
  {
    name: "REST refresh",
    publish: ({ url }, scope) => post(url, "/api/refresh/trips", { scope }),
    told: (mark) => [refresh("/trips", mark)],
  },
  {
    name: "REST payload on a channel",
    publish: ({ url }, mark) => post(url, "/api/notifications/chat", { mark, text: "héllo\u{1f514}" }),
    told: (mark) => [message("chat", { mark, text: "héllo\u{1f514}" })],
  },
  {
    name: "REST batch",
    publish: ({ url }, mark) =>
      post(url, "/api/publications", {
        publications: [
          { channel: "chat", payload: { mark, n: 1 } },
          { channel: "trips", scope: mark },
          { channel: "chat", payload: { mark, n: 2 } },
        ],
      }),
    told: (mark) => [message("chat", { mark, n: 1 }), message("chat", { mark, n: 2 }), refresh("/trips", mark)],
  },
  {
    name: "PUBLISH refresh.trips",
    publish: ({ publish }, scope) => publish("refresh.trips", JSON.stringify({ type: "REFRESH", scope })),
    told: (mark) => [refresh("/trips", mark)],
  },
  {
    name: "PUBLISH trips.refresh",
    publish: ({ publish }, scope) => publish("trips.refresh", JSON.stringify({ scope })),
    told: (mark) => [refresh("/trips", mark)],
  },
  {
    name: "PUBLISH of a scope as text",
    publish: ({ publish }, scope) => publish("notifications.refresh", scope),
    told: (mark) => [refresh("/notifications", mark)],
  },
  {
    name: "a NestJS envelope",
    publish: ({ publish }, scope) =>
      publish("refresh.trips", JSON.stringify({ pattern: "refresh.trips", data: { type: "REFRESH", scope } })),
    told: (mark) => [refresh("/trips", mark)],
  },
  {
    name: "PUBLISH trip.status_changed",
    publish: ({ publish }, scope) => publish("trip.status_changed", JSON.stringify({ tripId: 42, scope })),
    told: (mark) => [refresh("/trips", mark), refresh("/notifications", mark)],
  },
  {
    name: "pg_notify('orders', …)",
    publish: ({ sql }, mark) => sql.query("select pg_notify('orders', $1)", [JSON.stringify({ mark })]),
    told: (mark) => [message("orders", { mark })],
  },
  {
    name: "pg_notify of both spellings of a refresh namespace",
    publish: ({ sql }, mark) =>
      sql.query("select pg_notify('refresh.trips', $1), pg_notify('trips.refresh', $2)", [mark, `${mark}.2`]),
    told: (mark) => [refresh("/trips", mark), refresh("/trips", `${mark}.2`)],
  },
  {
    name: "NOTIFY on a custom channel",
    publish: ({ sql }, mark) => sql.query(`notify "${CUSTOM}", '${mark}, not JSON'`),
    told: (mark) => [message(CUSTOM, `${mark}, not JSON`)],
  },
  {
    name: "an order through the example trigger",
    publish: ({ sql }, mark) => sql.query("insert into orders (customer, total) values ($1, 12.5)", [mark]),
    told: (mark) => [
      message("orders", {
        op: "INSERT",
        id: expect.any(String),
        customer: mark,
        status: "created",
        total: "12.50",
        updated_at: expect.any(String),
      }),
    ],
  },
  {
    name: "carillon.publish and carillon.refresh in a transaction, and nothing of one that is rolled back",
    async publish({ sql }, mark) {
      const both =
        "select carillon.publish('audit', jsonb_build_object('mark', $1::text)), carillon.refresh('trips', $1)";
      await sql.query("begin");
      await sql.query(both, [`${mark}.never`]);
      await sql.query("rollback");
      await sql.query("begin");
      await sql.query(both, [mark]);
      await sql.query("commit");
    },
    told: (mark) => [message("audit", { mark }), refresh("/trips", mark)],
  },
  {
    name: "a watched table's insert, update, COPY, delete and truncate",
    async publish({ sql, table }, mark) {
      await sql.query(`insert into ${table} (name, n) values ($1, 1)`, [mark]);
      await sql.query(`update ${table} set n = 2 where name = $1`, [mark]);
      await sql.query(`copy ${table} (name, n) from program 'printf "${mark}.copy\\t3\\n${mark}.copy\\t4\\n"'`);
      await sql.query(`delete from ${table} where name = $1`, [mark]);
      await sql.query(`truncate ${table}`);
    },
    told: (mark, table) => [
      item("INSERT", table, { row: row(mark, "1") }),
      item("UPDATE", table, { row: row(mark, "2"), old: row(mark, "1") }),
      item("INSERT", table, { row: row(`${mark}.copy`, "3") }),
      item("INSERT", table, { row: row(`${mark}.copy`, "4") }),
      item("DELETE", table, { old: row(mark, "2") }),
      message("items", { op: "TRUNCATE", schema: "public", table, key: null }),
    ],
  },
];

let redis: RedisServer;
let postgres: PostgresServer;

beforeAll(async () => {
  [redis, postgres] = await Promise.all([startRedis({ appendonly: "always" }), startPostgres()]);
});
afterAll(async () => {
  await Promise.all([redis?.stop(), postgres?.stop()]);
});

describe.each([3, 1, 2, 5])("with %i node(s) behind nginx, two clients on each", (nodes) => {
  let stage: Stage;
  let ears: Ear[] = [];
  let froms: From[] = [];

  beforeAll(async () => {
    stage = await openStage({ nodes, redis, postgres });
    froms = [];
    for (let index = 0; index <= ROUNDS; index++) {
      const table = `items_${index}`;
      await stage.sql.query(`
        create table ${table} (id bigint generated always as identity primary key, name text, n numeric);
        select carillon.watch('${table}', 'items')`);
      const { url } = stage.nodes[index % nodes]!;
      froms.push({ url, publish: stage.publish, sql: await connectSql(stage.databaseUrl), table });
    }
    ears = await openEars(stage.url, nodes, { channels: CHANNELS });
  });
  afterAll(async () => {
    for (const ear of ears) ear.close();
    await Promise.all(froms.map(({ sql }) => sql.end()));
    await stage?.stop();
  });

  test.each(WAYS.map((way) => [way.name, way] as const))("%s: every client hears it once", async (name, way) => {
    const mark = `ONE.${WAYS.indexOf(way)}`;
    const from = ears.map((ear) => ear.heard.length);
    const told = way.told(mark, "items_0");

    await way.publish(froms[0]!, mark);

    await allHear(
      ears,
      `everybody to hear of ${name}`,
      (ear) => ear.heard.length >= from[ears.indexOf(ear)]! + told.length,
    );
    await fence(`${mark}.fence`);
    for (const [index, ear] of ears.entries()) {
      for (const namespace of NAMESPACES) {
        const heard = ear.story(namespace, from[index]).slice(0, -1); // without the fence
        const wanted = told.filter(([where]) => where === namespace).map(([, ...event]) => event);
        expect(heard, `${ear.name} in ${namespace}`).toEqual(wanted);
      }
    }
  });

  test("everything at once from every node: every client hears all of it once, and all in one order", async () => {
    const from = ears.map((ear) => ear.heard.length);
    const rounds = froms.slice(1).map((from, index) => ({ from, mark: `ALL.${index}` }));
    const sayings = ears.flatMap((ear, index) => rounds.map(({ mark }) => ({ ear, mark: `${mark}.c${index}` })));

    await Promise.all([
      ...rounds.map(async ({ from, mark }) => {
        for (const [index, way] of WAYS.entries()) await way.publish(from, `${mark}.w${index}`);
      }),
      ...sayings.map(({ ear, mark }) => ear.ask("/channels", "publish", { channel: "chat", payload: { mark } })),
    ]);

    const told = rounds.flatMap(({ from, mark }) =>
      WAYS.flatMap((way, index) => way.told(`${mark}.w${index}`, from.table)),
    );
    told.push(...sayings.map(({ mark }) => message("chat", { mark })));
    await allHear(
      ears,
      "everybody to hear everything",
      (ear) => ear.heard.length >= from[ears.indexOf(ear)]! + told.length,
      30_000,
    );
    await fence("ALL.fence");
    for (const namespace of NAMESPACES) {
      const stories = ears.map((ear, index) => ear.story(namespace, from[index]).slice(0, -1));
      for (const [index, story] of stories.entries())
        expect(story, `${ears[index]!.name} in ${namespace}`).toEqual(stories[0]);
      const wanted = told.filter(([where]) => where === namespace).map(([, ...event]) => event);
      expectSame(stories[0]!, wanted);
    }
    for (const ear of ears) {
      expectLogOrder(ear);
      expect(ear.heard.filter(({ event }) => event === "gap")).toEqual([]);
      expect(ear.disconnects).toEqual([]);
    }
  });

  /** One more in each namespace, after everything: whoever heard it has heard all that there was before. */
  async function fence(mark: string): Promise<void> {
    await post(stage.url, "/api/publications", {
      publications: [
        { channel: "trips", scope: mark },
        { channel: "notifications", scope: mark },
        { channel: "chat", payload: { mark } },
      ],
    });
    await allHear(
      ears,
      `everybody to hear ${mark}`,
      (ear) =>
        ear.scopes("/trips").at(-1) === mark &&
        ear.scopes("/notifications").at(-1) === mark &&
        ear.payloads("chat").at(-1)?.mark === mark,
    );
  }
});

/** The same, in any order. Each that is wanted fits one that was heard, and no two fit the same. */
function expectSame(heard: readonly unknown[], wanted: readonly unknown[]): void {
  const left = [...heard];
  for (const one of wanted) {
    const index = left.findIndex((other) => isEqual(other, one));
    if (index === -1) expect(left).toContainEqual(one);
    left.splice(index, 1);
  }
  expect(left).toEqual([]);
}

function isEqual(heard: unknown, wanted: unknown): boolean {
  try {
    expect(heard).toEqual(wanted);
    return true;
  } catch {
    return false;
  }
}
