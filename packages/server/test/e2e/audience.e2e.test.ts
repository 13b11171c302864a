/** `to`: those whom it names hear it, whichever way it came and whatever node they are on; nobody else does (guarantee 6). */
import { type PostgresServer, type RedisServer, startPostgres, startRedis, waitFor } from "@carillon/testkit";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { allHear, type Ear, openEar } from "./support/ear.ts";
import { openStage, post, type Stage } from "./support/stage.ts";

const PEOPLE = {
  alice: { node: 0, transport: "polling", auth: { user: "alice" } },
  alice2: { node: 1, transport: "websocket", auth: { user: "alice" } },
  bob: { node: 1, transport: "polling", auth: { user: "auth0|bob@example.com", roles: ["driver"] } },
  carol: { node: 2, transport: "websocket", auth: { user: "carol", roles: ["driver", "admin"], tenant: "acme" } },
  dave: { node: 2, transport: "polling", auth: { user: 42, tenant: "acme" } },
  nobody: { node: 0, transport: "websocket", auth: {} },
} as const;
type Name = keyof typeof PEOPLE;
const EVERYBODY = Object.keys(PEOPLE) as Name[];
const IN_ROOM = ["bob", "dave"] as const;
const BOB = PEOPLE.bob.auth.user;

const CASES: { to: object; hear: Name[] }[] = [
  { to: { users: ["alice"] }, hear: ["alice", "alice2"] },
  { to: { users: [BOB, "someone else"] }, hear: ["bob"] },
  { to: { users: [42] }, hear: ["dave"] },
  { to: { users: [] }, hear: [] },
  { to: { roles: ["driver"] }, hear: ["bob", "carol"] },
  { to: { roles: ["Driver"] }, hear: [] },
  { to: { tenants: ["acme"] }, hear: ["carol", "dave"] },
  { to: { rooms: ["trip:42"] }, hear: ["bob", "dave"] },
  { to: { rooms: ["trip:43"] }, hear: [] },
  { to: { rooms: ["user:carol", "role:admin", "tenant:acme"] }, hear: ["carol", "dave"] },
  { to: { users: ["alice"], roles: ["admin"], rooms: ["trip:42"] }, hear: ["alice", "alice2", "bob", "carol", "dave"] },
  { to: { except: { users: ["alice", "carol"] } }, hear: ["bob", "dave", "nobody"] },
  { to: { except: { rooms: ["trip:42", "role:admin"] } }, hear: ["alice", "alice2", "nobody"] },
  { to: { roles: ["driver"], except: { users: ["carol"] } }, hear: ["bob"] },
  { to: { users: [BOB, "carol"], except: { rooms: ["trip:42"] } }, hear: ["carol"] },
  { to: { tenants: ["acme"], except: { users: ["carol", 42] } }, hear: [] },
  { to: {}, hear: EVERYBODY },
];

let redis: RedisServer;
let postgres: PostgresServer;
let stage: Stage;
let ears: Record<Name, Ear>;
let fences = 0;

beforeAll(async () => {
  [redis, postgres] = await Promise.all([startRedis(), startPostgres()]);
  stage = await openStage({ nodes: 3, redis, postgres });
  const opened = EVERYBODY.map(async (name) => {
    const { node, transport, auth } = PEOPLE[name];
    const ear = await openEar(stage.url, { name, transport, auth, query: { node: `${node}` }, channels: ["chat"] });
    return [name, ear] as const;
  });
  ears = Object.fromEntries(await Promise.all(opened)) as Record<Name, Ear>;
  for (const name of IN_ROOM) {
    // A room is within a channel.
    for (const namespace of ["/trips", "/notifications"]) await ears[name].ask(namespace, "join", { room: "trip:42" });
    await ears[name].ask("/channels", "join", { channel: "chat", room: "trip:42" });
  }
});
afterAll(async () => {
  for (const ear of Object.values(ears ?? {})) ear.close();
  await stage?.stop();
  await Promise.all([redis?.stop(), postgres?.stop()]);
});

/** Every way in that takes a `to`: refreshes of /trips and messages on chat. */
async function publishAll(mark: string, to: object): Promise<void> {
  const text = JSON.stringify(to);
  await post(stage.url, "/api/refresh/trips", { scope: `${mark}.rest`, to });
  await post(stage.url, "/api/publications", {
    publications: [
      { channel: "chat", payload: `${mark}.rest`, to },
      { channel: "trips", scope: `${mark}.batch`, to },
    ],
  });
  await stage.publish("refresh.trips", JSON.stringify({ scope: `${mark}.redis`, to }));
  await stage.publish("trip.moved", JSON.stringify({ pattern: "trip.moved", data: { scope: `${mark}.event`, to } }));
  await stage.sql.query("select pg_notify('trips.refresh', $1)", [JSON.stringify({ scope: `${mark}.notify`, to })]);
  await stage.sql.query("select carillon.refresh('trips', $1, $2)", [`${mark}.sql`, text]);
  await stage.sql.query("select carillon.publish('chat', to_jsonb($1::text), $2)", [`${mark}.sql`, text]);
}
const SCOPES = ["rest", "batch", "redis", "event", "notify", "sql"];
const MESSAGES = ["rest", "sql"];

/** Behind everything that is on its way by any of the feeds. */
async function fence(some: readonly Ear[] = Object.values(ears)): Promise<void> {
  const mark = `FENCE.${fences++}`;
  await stage.publish("refresh.trips", `${mark}.redis`);
  await stage.sql.query("select pg_notify('trips.refresh', $1)", [`${mark}.notify`]);
  await stage.sql.query("select carillon.refresh('trips', $1)", [`${mark}.sql`]);
  const feeds = ["redis", "notify", "sql"].map((feed) => `${mark}.${feed}`);
  await allHear(some, `everybody to hear ${mark}`, (ear) =>
    feeds.every((scope) => ear.scopes("/trips").includes(scope)),
  );
  await post(stage.url, "/api/notifications/chat", mark);
  await allHear(some, `everybody to hear ${mark} on chat`, (ear) => ear.payloads("chat").includes(mark));
}

const without = (heard: string[]) => heard.filter((mark) => !mark.startsWith("FENCE")).sort();

describe("over every way in", () => {
  test.each(CASES.map(({ to, hear }) => [JSON.stringify(to), hear.join(", ") || "no one", to, hear] as const))(
    "%s is for %s",
    async (_to, _hear, to, hear) => {
      const mark = `C${fences}`;
      const from = Object.fromEntries(EVERYBODY.map((name) => [name, ears[name].heard.length]));

      await publishAll(mark, to);

      await fence();
      for (const name of EVERYBODY) {
        const is = hear.includes(name);
        const expected = (ways: string[]) => (is ? ways.map((way) => `${mark}.${way}`).sort() : []);
        expect(without(ears[name].scopes("/trips", from[name])), name).toEqual(expected(SCOPES));
        expect(without(ears[name].scopes("/notifications", from[name])), name).toEqual(expected(["event"]));
        expect(without(ears[name].payloads("chat", from[name])), name).toEqual(expected(MESSAGES));
      }
    },
  );

  test("one connection can be left out, and its user's others are not", async () => {
    const from = Object.fromEntries(EVERYBODY.map((name) => [name, ears[name].heard.length]));
    const sockets = [ears.alice.socket("/trips").id, ears.alice.socket("/channels").id];

    await publishAll("SOCKET", { users: ["alice"], except: { sockets } });

    await fence();
    expect(without(ears.alice.scopes("/trips", from.alice))).toEqual([]);
    expect(without(ears.alice.payloads("chat", from.alice))).toEqual([]);
    expect(without(ears.alice2.scopes("/trips", from.alice2))).toHaveLength(SCOPES.length);
    expect(without(ears.alice2.payloads("chat", from.alice2))).toHaveLength(MESSAGES.length);
  });
});

test("what was missed and is asked for later is only what was meant for one", async () => {
  const from = ears.bob.heard.length;
  const returns = ears.bob.returns.length;
  const manager = ears.bob.socket("/trips").io;
  manager.reconnection(false);
  manager.engine.close();
  await waitFor(() => !ears.bob.socket("/trips").connected, { what: "bob to be away" });

  const meant = CASES.map(({ to, hear }, index) => ({ mark: `AWAY.${index}`, to, hears: hear.includes("bob") }));
  for (const { mark, to } of meant) await publishAll(mark, to);
  await fence(EVERYBODY.filter((name) => name !== "bob").map((name) => ears[name]));
  manager.reconnection(true);
  for (const namespace of ["/channels", "/trips", "/notifications"]) ears.bob.socket(namespace).connect();

  await waitFor(() => ears.bob.returns.length === returns + 3, { what: "bob to be back" });
  expect(ears.bob.returns.slice(returns).every(({ recovered }) => recovered)).toBe(true);
  await fence();
  const expected = (ways: string[]) =>
    meant
      .filter(({ hears }) => hears)
      .flatMap(({ mark }) => ways.map((way) => `${mark}.${way}`))
      .sort();
  expect(without(ears.bob.scopes("/trips", from))).toEqual(expected(SCOPES));
  expect(without(ears.bob.scopes("/notifications", from))).toEqual(expected(["event"]));
  expect(without(ears.bob.payloads("chat", from))).toEqual(expected(MESSAGES));
});
