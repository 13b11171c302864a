import { randomUUID } from "node:crypto";
import {
  api,
  type Client,
  connect,
  type NodeServer,
  type PostgresServer,
  startNode,
  startPostgres,
} from "@carillon/testkit";
import { afterAll, afterEach, beforeAll, expect, test } from "vitest";
import { carillon } from "./support.ts";

const JWT_SECRET = "a secret of more than thirty-two characters";
const API_KEYS = "all:the-secret,orders:the-other-secret:publish:orders,ops:the-third-secret:operate";

let postgres: PostgresServer;
let node: NodeServer;
let env: Record<string, string>;
const clients: Client[] = [];

beforeAll(async () => {
  postgres = await startPostgres();
  await postgres.query("create table orders (id bigint primary key, status text, customer text)");
  node = await startNode({ AUTH: "on", API_KEYS, JWT_SECRET, DATABASE_URL: postgres.url });
  env = { CARILLON_URL: node.url, CARILLON_KEY: "the-secret", JWT_SECRET, DATABASE_URL: postgres.url };
});

afterEach(() => {
  for (const client of clients.splice(0)) client.close();
});

afterAll(async () => {
  await node?.stop();
  await postgres?.stop();
});

test("publish reaches whoever has a token for the channel, typed or piped", async () => {
  const client = await listener("/channels", ["--channels", "orders"]);
  expect(await client.ask("subscribe", { channel: "orders" })).toMatchObject({ ok: true });

  const typed = await carillon(["publish", "orders", '{"id":9007199254740993}'], { env });
  const piped = await carillon(["publish", "orders", "-", "--text", "--json"], { env, stdin: "two\nlines" });

  expect(typed).toMatchObject({ code: 0, err: "" });
  const [, id] = /^(\d+-\d+) {2}orders\n$/.exec(typed.out) ?? [];
  expect(JSON.parse(piped.out)).toEqual({ id: expect.stringMatching(/^\d+-\d+$/), channel: "orders" });
  expect((await client.next("notification")).args[1]).toBe(id);
  expect((await client.next("notification")).args[0]).toMatchObject({ channel: "orders", payload: "two\nlines" });
  const token = await tokenFor(["--channels", "orders"]);
  const history = await api(node.url, { authorization: `Bearer ${token}` }).get("/api/channels/orders/publications");
  expect(history.text).toContain('{"id":9007199254740993}');
});

test("refresh and publish reach whom they are for", async () => {
  const driver = await listener("/trips", ["--sub", "driver", "--roles", "driver", "--channels", "orders"]);
  const other = await listener("/trips", ["--sub", "other", "--channels", "orders"]);

  const narrow = ["--to-roles", "driver,boss", "--to-users", "other", "--except-users", "other"];
  const refreshed = await carillon(["refresh", "trips", "APPROVED", ...narrow, "--payload", '{"id":7}'], { env });
  const published = await carillon(["publish", "trips", '{"for":"other"}', "--to-users", "other"], { env });
  await carillon(["refresh", "trips"], { env });

  expect([refreshed.code, published.code]).toEqual([0, 0]);
  expect((await driver.next("refresh")).args[0]).toEqual({ type: "REFRESH", scope: "APPROVED", payload: { id: 7 } });
  expect((await driver.next("refresh")).args[0]).toEqual({ type: "REFRESH", scope: "ALL" });
  expect((await other.next("refresh")).args[0]).toEqual({ type: "REFRESH", scope: "ALL" });
  expect(other.events.filter(({ event }) => event === "notification")).toHaveLength(1);
  expect(driver.events.filter(({ event }) => event === "notification")).toHaveLength(0);
});

test("the same idempotency key publishes once", async () => {
  const args = ["publish", "orders", "1", "--idempotency-key", randomUUID()];

  const first = await carillon(args, { env });
  const second = await carillon(args, { env });
  const third = await carillon(["publish", "orders", "1"], { env });

  expect(second).toEqual(first);
  expect(third.out).not.toBe(first.out);
});

test.each([
  [{ CARILLON_KEY: "" }, ["publish", "orders", "1"], "401 UNAUTHENTICATED", "set CARILLON_KEY"],
  [{ CARILLON_KEY: "all:the-secret" }, ["publish", "orders", "1"], "401 UNAUTHENTICATED", "without its name"],
  [{ CARILLON_KEY: "the-other-secret" }, ["publish", "chat", "1"], "403 FORBIDDEN", "use a key with that right"],
  [{}, ["refresh", "fleet"], "404 UNKNOWN_NAMESPACE", "NAMESPACES"],
  [
    { CARILLON_KEY: "the-third-secret" },
    ["push", "redrive"],
    "need FIREBASE_CREDENTIALS (501",
    "settings that it names",
  ],
])("what the node refuses is told with what to do: %j %j", async (other, args, told, fix) => {
  const { code, out, err } = await carillon(args, { env: { ...env, ...other } });

  expect({ code, out }).toEqual({ code: 1, out: "" });
  expect(err).toContain(told);
  expect(err).toMatch(new RegExp(`fix: .*${fix}`));
  expect(err).not.toContain("-secret");
});

test("a watched table publishes its changes until it is watched no longer", async () => {
  const client = await listener("/channels", ["--sub", "ada", "--channels", "orders"]);
  expect(await client.ask("subscribe", { channel: "orders" })).toMatchObject({ ok: true });

  const watch = ["watch", "orders", "--columns", "id,status", "--to-user", "customer"];
  const watching = await carillon(watch, { env });
  await postgres.query("insert into orders values (1, 'new', 'ada'), (2, 'new', 'bob')");
  const heard = await client.next("notification");
  const done = await carillon(["unwatch", "public.orders"], { env });
  await postgres.query("insert into orders values (3, 'new', 'ada')");
  await carillon(["publish", "orders", '"last"'], { env });
  await client.next("notification", ({ payload }) => payload === "last");

  expect(watching).toEqual({ code: 0, out: "watching orders\n", err: "" });
  expect(heard.args[0].payload).toEqual({
    op: "INSERT",
    schema: "public",
    table: "orders",
    key: "1",
    row: { id: "1", status: "new" },
  });
  expect(done.code).toBe(0);
  expect(client.events.filter(({ event }) => event === "notification")).toHaveLength(2);
});

test.each([
  [["watch", "no_such_table"], 'relation "no_such_table" does not exist', "correct the table's name"],
  [["watch", "orders", "--columns", "nonsense"], "orders has no column nonsense", undefined],
])("what Postgres refuses is told with what to do: %j", async (args, told, fix) => {
  const { code, err } = await carillon(args, { env });

  expect(code).toBe(1);
  expect(err).toContain(told);
  if (fix !== undefined) expect(err).toContain(`fix: ${fix}`);
});

async function tokenFor(claims: string[]): Promise<string> {
  const { code, out } = await carillon(["token", ...claims], { env });
  expect(code).toBe(0);
  return out.trim();
}

/** Somebody whom `carillon token` let in. */
async function listener(namespace: string, claims: string[]): Promise<Client> {
  const client = connect(node.url, namespace, { auth: { token: await tokenFor(claims) } });
  clients.push(client);
  await client.ready;
  return client;
}
