/** The least that a node, and an application, need of Postgres and of Redis: the examples of `infra` as they are. */
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { connectRedis, minimalAcl } from "@carillon/redis";
import {
  api,
  connectSql,
  type PostgresServer,
  queryAt,
  startNode,
  startPostgres,
  startRedis,
  waitFor,
} from "@carillon/testkit";
import { expect, onTestFinished, test } from "vitest";
import { loadSettings } from "../../src/settings/load.ts";
import { sign } from "../auth/kit.ts";
import { away } from "./kit.ts";
import { connectAs, OPERATOR, publish, SERVER, startGuarded } from "./support/guarded.ts";

const infra = (path: string): string => readFileSync(new URL(`../../../../infra/${path}`, import.meta.url), "utf8");
const as = (url: string, user: string): string => {
  const other = new URL(url);
  other.username = user;
  other.password = "a-password";
  return other.href;
};

test("a node works under carillon_node, and an application under carillon_app may publish and refresh and nothing else", async () => {
  const postgres = await startPostgres();
  onTestFinished(() => postgres.stop());
  const migrating = await startNode({ DATABASE_URL: postgres.url, DRAIN_TIMEOUT_S: "1" });
  await migrating.stop(3000);
  await postgres.query(
    "create table orders (id bigint primary key, status text); select carillon.watch('orders', 'orders')",
  );
  for (const _twice of [1, 2]) await postgres.query(infra("postgres/roles.sql"));
  await postgres.query(`
    alter role carillon_node login password 'a-password';
    create role app login password 'a-password' in role carillon_app;
    grant insert on orders to app`);
  const node = await startGuarded({
    DATABASE_URL: as(postgres.url, "carillon_node"),
    MIGRATE: "off",
    DRAIN_TIMEOUT_S: "1",
  });
  onTestFinished(async () => void (await node.stop(3000)));
  await waitFor(async () => (await node.readyz()).body?.checks?.postgres?.status === "ok", { what: "the bridge" });
  const client = await connectAs(node.url, "/channels", { channels: ["*"] });
  onTestFinished(() => client.close());
  await client.ready;
  for (const channel of ["orders", "chat", "trips", "custom"])
    expect(await client.ask("subscribe", { channel })).toMatchObject({ ok: true });
  const app = await connectSql(as(postgres.url, "app"));
  onTestFinished(() => app.end());

  await app.query("select carillon.publish('chat', '{\"from\":\"app\"}')");
  await app.query("select carillon.refresh('trips', 'A', '{\"users\":[42]}')");
  await app.query("insert into orders values (1, 'new')");
  await app.query("notify custom, '\"plain\"'");
  const notified = await app.query("select carillon.notify(array['user-1'], 'TRIP_APPROVED', 'Title', 'Body') as id");

  await client.next("notification", ({ payload }) => payload?.from === "app");
  await client.next("refresh", ({ scope }) => scope === "A");
  await client.next("notification", ({ payload }) => payload?.op === "INSERT" || payload?.table === "orders");
  await client.next("notification", ({ channel }) => channel === "custom");
  await inboxAndPushWork(node.url, postgres, String(notified.rows[0]?.id));
  for (const sql of [
    "select * from carillon.outbox",
    "insert into carillon.outbox (channel, payload) values ('chat', '1')",
    "delete from carillon.outbox",
    "select * from carillon.cursor",
    "update carillon.cursor set window_number = 0",
    "select * from carillon.setting",
    "update carillon.setting set value = '1'",
    "select carillon.watch('orders', 'x')",
    "select carillon.register('orders', 'x', null, null)",
    "select carillon.unregister('orders')",
    "select carillon.rebuild()",
    "select carillon.hint()",
    "create table carillon.mine ()",
    "select nextval('carillon.outbox_id_seq')",
    "select carillon.store_event('e', array['1'], 'A', 'T', 'B', '{}', null, true, null)",
    ...["inbox_entry", "device", "push_seen", "push_attempt", "notify_request"].flatMap((table) => [
      `select * from carillon.${table}`,
      `delete from carillon.${table}`,
    ]),
    "create function carillon.jsonb(text) returns jsonb language sql as 'select null'",
  ])
    await expect(app.query(sql), sql).rejects.toThrow(/permission denied/);
  // A schema of the caller's in front shadows nothing of the functions' own.
  await postgres.query("create schema mine authorization app");
  await app.query(
    "create function mine.jsonb_typeof(jsonb) returns text language sql as $$ select 'object' $$; set search_path = mine, pg_catalog",
  );
  await expect(app.query("select carillon.publish('chat', '1', '5')")).rejects.toThrow(/to_ is an object/);
  const nodeSql = as(postgres.url, "carillon_node");
  for (const sql of [
    "insert into carillon.outbox (channel, payload) values ('chat', '1')",
    "update carillon.outbox set payload = '1'",
    "select * from orders",
    "select carillon.publish('chat', '1')",
    "create schema x",
    "update carillon.setting set value = '1'",
  ])
    await expect(queryAt(nodeSql, sql), sql).rejects.toThrow(/permission denied/);
  // What the bridge throws away at its pace, with the same rights.
  const rows = await queryAt(
    nodeSql,
    "delete from carillon.outbox where id = any (array(select id from carillon.outbox where pg_visible_in_snapshot(xid, pg_current_snapshot()))) returning id",
  );
  expect(rows.length).toBeGreaterThan(0);
  expect(node.logs.filter(({ level }) => level === "error")).toEqual([]);
});

test("a node does everything under the rules of infra/redis/users.acl, and Redis refused it nothing", async () => {
  const settings = loadSettings({ AUTH: "off" });
  const { names, close } = connectRedis({ url: "redis://127.0.0.1:1" });
  close();
  const options = {
    namespaces: [...settings.namespaces.map((name) => `/${name}`), "/channels"],
    channels: settings.namespaces.flatMap((name) => [`refresh.${name}`, `${name}.refresh`]),
    patterns: settings.eventRoutes.map(({ pattern }) => pattern),
  };
  const file = infra("redis/users.acl")
    .split("\n")
    .filter((line) => line.startsWith("user "));
  const rules =
    /^user carillon on >CHANGE-ME (.*)$/.exec(file.find((line) => line.startsWith("user carillon ")) ?? "")?.[1] ?? "";
  expect(rules.split(" ")).toEqual(minimalAcl(names, options));
  const redis = await startRedis({
    args: ["--aclfile", fileURLToPath(new URL("../../../../infra/redis/users.acl", import.meta.url))],
  });
  onTestFinished(() => redis.stop());
  const admin = redis.client();
  onTestFinished(() => admin.disconnect());
  const url = redis.url.replace("redis://", "redis://carillon:CHANGE-ME@");
  const nodes = await Promise.all([1, 2].map(() => startGuarded({ REDIS_URL: url, DRAIN_TIMEOUT_S: "1" })));
  onTestFinished(async () => void (await Promise.all(nodes.map((node) => node.stop(3000)))));
  const [a, b] = nodes as [(typeof nodes)[0], (typeof nodes)[0]];

  const client = await connectAs(a.url, "/channels", { sub: "42", channels: ["*"], publish: ["*"], rooms: ["*"] });
  onTestFinished(() => client.close());
  await client.ready;
  expect(await client.ask("subscribe", { channel: "chat" })).toMatchObject({ ok: true });
  expect(await client.ask("join", { channel: "chat", room: "r" })).toMatchObject({ ok: true });
  expect(await client.ask("publish", { channel: "chat", payload: 1 })).toMatchObject({ ok: true });
  const heard = await away(client, () => publish(b.url, "chat", "missed"), b.url);
  expect(heard.some(({ args }) => args[0]?.payload === "missed")).toBe(true);
  expect((await api(a.url).post("/api/tickets", undefined, { authorization: `Bearer ${await sign()}` })).status).toBe(
    201,
  );
  expect(
    (await api(a.url).post("/api/refresh/trips", { scope: "A" }, { ...SERVER, "idempotency-key": "k" })).status,
  ).toBe(202);
  await client.ask("subscribe", { channel: "trips" });
  const app = redis.client({ username: "app", password: "CHANGE-ME", enableReadyCheck: false });
  onTestFinished(() => app.disconnect());
  await app.publish("refresh.trips", '{"scope":"BY_REDIS"}');
  await client.next("refresh", ({ scope }) => scope === "BY_REDIS");
  expect((await api(b.url).delete("/api/users/42/connections", undefined, OPERATOR)).status).toBe(204);
  await waitFor(() => !client.socket.connected, { what: "the revocation" });

  expect(await admin.call("ACL", "LOG")).toEqual([]);
  await expect(app.publish("carillon:own:revoked", "{}")).rejects.toThrow(/NOPERM/);
  const other = redis.client({ username: "carillon", password: "CHANGE-ME" });
  onTestFinished(() => other.disconnect());
  for (const command of [
    ["GET", "somebody-elses"],
    ["FLUSHALL"],
    ["KEYS", "*"],
    ["CONFIG", "GET", "*"],
    ["SUBSCRIBE", "other"],
    ["ACL", "LIST"],
  ] as const)
    await expect(other.call(...(command as unknown as [string, ...string[]])), command.join(" ")).rejects.toThrow(
      /NOPERM/,
    );
  // The set-up is judged at the start, by name.
  await admin.call("ACL", "SETUSER", "carillon", "-incrby");
  const poor = await startGuarded({ REDIS_URL: url, DRAIN_TIMEOUT_S: "1" });
  onTestFinished(async () => void (await poor.stop(3000)));
  await waitFor(() => poor.logs.some(({ fix }) => String(fix).includes("+incrby")), {
    what: "the missing rule to be named",
  });
});

/** As far as Postgres is concerned: everything that a node does there for one user, who was notified of `eventId`. */
async function inboxAndPushWork(url: string, postgres: PostgresServer, eventId: string): Promise<void> {
  const ada = api(url, { authorization: `Bearer ${await sign({ sub: "user-1" })}` });
  expect(await ada.put("/api/devices/phone", { token: "t", platform: "ios" })).toMatchObject({ status: 200 });
  const key = { ...SERVER, "idempotency-key": "once" };
  const notification = { userIds: "*", type: "SYSTEM_ALERT", title: "T", body: "B" };
  expect(await api(url).post("/api/notify", notification, key)).toMatchObject({ status: 202, body: { entries: 1 } });
  await waitFor(async () => (await postgres.query("select from carillon.push_attempt")).length > 0, {
    what: "the record of a push",
    timeoutMs: 20_000,
  });
  expect(await ada.post("/api/inbox/archive", { ids: [eventId] })).toMatchObject({ body: { changed: 1 } });
  expect(await ada.get("/api/inbox/counts")).toMatchObject({ body: { unread: 1, total: 1, archived: 1 } });
  expect(await ada.delete("/api/devices/phone")).toMatchObject({ status: 204 });
  await ada.put("/api/devices/tablet", { token: "u", platform: "ios" });
  expect(await api(url).delete("/api/users/user-1/connections", undefined, OPERATOR)).toMatchObject({ status: 204 });
  expect(await postgres.query("select from carillon.device")).toEqual([]);
}
