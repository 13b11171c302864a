/**
 * What is promised holds for every kind of client: one story, told to five of them at once on three nodes behind nginx, while
 * nodes are killed, and each of the five heard the same.
 */
import { api, type Cluster, type RedisServer, startCluster, startRedis, waitFor } from "@carillon/testkit";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { sign } from "../auth/kit.ts";
import { compareIds } from "./kit.ts";
import { GUARDED, OPERATOR, SERVER } from "./support/guarded.ts";
import { KINDS, type Listener, listener, type Wants } from "./support/listeners.ts";

let redis: RedisServer;
let cluster: Cluster;
let opened: Listener[] = [];
let run = 0;
/** A channel of the test's own. */
let channel = "";

beforeAll(async () => {
  redis = await startRedis();
  cluster = await startCluster({
    redis,
    env: { ...GUARDED, ROLES: "gateway", PING_INTERVAL_MS: "2000", CONNECTS_PER_S: "5000", DRAIN_TIMEOUT_S: "4" },
  });
});
beforeEach(() => {
  channel = `c${run++}`;
});
afterEach(async () => {
  for (const one of opened) one.close();
  opened = [];
  await Promise.all(cluster.nodes.map(async (node) => node.running || (await node.start())));
});
afterAll(async () => {
  await cluster?.stop();
  await redis?.stop();
});

/** One of each kind. */
async function five(wants: Partial<Wants> = {}, claims: object = {}): Promise<Listener[]> {
  const token = await sign({ sub: "me", channels: ["*"], rooms: ["*"], roles: ["driver"], ...claims });
  const all = KINDS.map((kind) => listener(kind, { url: cluster.url, node: 0, channels: [channel], token, ...wants }));
  opened.push(...all);
  return Promise.all(all.map((one) => one.open()));
}

async function publish(publications: object[], node = 1): Promise<string[]> {
  const answer = await api(cluster.nodes[node]!.url).post("/api/publications", { publications }, SERVER);
  if (answer.status !== 202) throw new Error(answer.text);
  return answer.body.results.map(({ id, error }: { id?: string; error?: object }) => {
    if (id === undefined) throw new Error(JSON.stringify(error));
    return id;
  });
}
const say = (payload: unknown, to?: object) => publish([{ channel, payload, ...(to !== undefined && { to }) }]);

/** The same of each, once each has `last`. */
async function expectEach(all: readonly Listener[], last: unknown, story: unknown[]): Promise<void> {
  await Promise.all(
    all.map((one) =>
      one.until(() => one.payloads.includes(last) && one.heard.every(({ id }) => id), `to hear ${last}`),
    ),
  );
  for (const one of all) {
    expect([one.kind, one.heard.map(({ payload, scope, what }) => payload ?? scope ?? what)]).toEqual([
      one.kind,
      story,
    ]);
    const ids = one.heard.map(({ id }) => id!);
    expect([one.kind, ids]).toEqual([one.kind, [...ids].sort(compareIds)]);
  }
}

test("what is for them, in log order and once: everybody's, their rooms', their user's and roles', and no others'", async () => {
  const all = await five({ channels: [channel, "trips"], rooms: ["trip:1"] });

  await publish([
    { channel, payload: "all" },
    { channel, payload: "room", to: { rooms: ["trip:1"] } },
    { channel, payload: "another room", to: { rooms: ["trip:2"] } },
    { channel, payload: "user", to: { users: ["me"] } },
    { channel, payload: "another user", to: { users: ["you"] } },
    { channel, payload: "role", to: { roles: ["driver", "other"] } },
    { channel, payload: "all but this user", to: { except: { users: ["me"] } } },
    { channel, payload: "all but this room", to: { except: { rooms: ["trip:1"] } } },
    { channel: "elsewhere", payload: "not subscribed" },
    { channel: "trips", scope: "TRIP_APPROVED" },
    { channel, payload: "last" },
  ]);

  await expectEach(all, "last", ["all", "room", "user", "role", "TRIP_APPROVED", "last"]);
});

test("a node is killed: they come back on another, missed nothing, and hear nothing twice", async () => {
  const all = await five({ rooms: ["r"] });
  await say(0, { rooms: ["r"] });
  await Promise.all(all.map((one) => one.until(() => one.payloads.includes(0), "to hear 0")));
  const told = [0];
  let publishing = true;
  const publisher = (async () => {
    while (publishing) {
      await say(told.length, told.length % 2 === 0 ? { rooms: ["r"] } : undefined);
      told.push(told.length);
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
  })();
  await waitFor(() => told.length > 10, { what: "some publications" });
  for (const one of all) one.wants.node = 2;

  await cluster.nodes[0]!.kill();
  await Promise.all(all.map((one) => one.until(() => one.settled === 2, "to be back")));
  publishing = false;
  await publisher;
  await say("last");

  await expectEach(all, "last", [...told, "last"]);
  for (const one of all) expect([one.kind, one.recovered]).toEqual([one.kind, [false, true]]);
});

test("what was missed comes before ready, with equal refreshes merged", async () => {
  const all = await five({ channels: [channel, "trips"] });
  await say("first");
  await Promise.all(all.map((one) => one.until(() => one.payloads.includes("first"), "to hear the first")));
  for (const one of all) one.cut();
  await publish([
    { channel: "trips", scope: "A" },
    { channel, payload: 1 },
    { channel: "trips", scope: "B" },
    { channel: "trips", scope: "A" },
    { channel, payload: 2 },
  ]);
  for (const one of all) one.wants.node = 1;

  await Promise.all(all.map((one) => one.back()));
  await say("last");

  await expectEach(all, "last", ["first", 1, "B", "A", 2, "last"]);
  for (const one of all) expect([one.kind, one.recovered]).toEqual([one.kind, [false, true]]);
});

test("the log is lost: who is there and who is away is told of a gap before anything later", async () => {
  const there = await five();
  const away = await five();
  const all = [...there, ...away];
  await say("before");
  await Promise.all(all.map((one) => one.until(() => one.payloads.includes("before"), "to hear it")));
  for (const one of away) one.cut();

  await redis.client().flushall();
  await say("lost on the way");
  for (const one of away) one.wants.node = 2;
  await Promise.all(away.map((one) => one.back()));
  await say("last");

  await Promise.all(all.map((one) => one.until(() => one.payloads.includes("last"), "to hear the last")));
  for (const one of all) {
    const { heard, kind } = one;
    const told = heard.slice(1).findIndex(({ what }) => what === "gap");
    expect([kind, told]).toEqual([kind, 0]);
    expect([kind, one.payloads.filter((payload) => payload === "last")]).toEqual([kind, ["last"]]);
  }
  for (const { kind, recovered } of away) expect([kind, recovered]).toEqual([kind, [false, false]]);
});

describe("rights", () => {
  test("a channel or a room that the token doesn't grant is refused, and not heard", async () => {
    const strangers = await five({}, { channels: [] });
    const roomless = await five({ rooms: ["r"] }, { rooms: [] });

    for (const { kind, refused } of [...strangers, ...roomless]) expect([kind, refused]).toEqual([kind, ["FORBIDDEN"]]);
    await say("secret");
    await say("secret", { rooms: ["r"] });
    const witness = await five();
    await say("end");
    await expectEach(witness, "end", ["end"]);
    for (const one of strangers) expect([one.kind, one.payloads]).toEqual([one.kind, []]);
    for (const one of roomless) expect(one.payloads.filter((payload) => payload === "secret").length).toBeLessThan(2);
  });

  test("whoever is revoked is closed everywhere, and stays away", async () => {
    const all = await five({}, { sub: "gone" });
    const others = await five({ node: 2 });

    await api(cluster.nodes[1]!.url).delete("/api/users/gone/connections", undefined, OPERATOR);

    await Promise.all(all.map((one) => one.until(() => one.refused.length > 0, "to be refused")));
    for (const { kind, refused } of all) expect([kind, refused]).toEqual([kind, ["REVOKED"]]);
    await say("last");
    await expectEach(others, "last", ["last"]);
    for (const one of all) expect([one.kind, one.payloads]).toEqual([one.kind, []]);
  });
});

test("a node is drained: they are elsewhere by themselves, whole", async () => {
  const all = await five({ rooms: ["r"] });
  await say("before");
  await Promise.all(all.map((one) => one.until(() => one.payloads.includes("before"), "to hear it")));
  for (const one of all) one.wants.node = 1;

  const { code } = await cluster.nodes[0]!.stop();
  await Promise.all(all.map((one) => one.until(() => one.settled === 2, "to be back")));
  await say("last", { rooms: ["r"] });

  expect(code).toBe(0);
  await expectEach(all, "last", ["before", "last"]);
  for (const one of all) expect([one.kind, one.recovered]).toEqual([one.kind, [false, true]]);
});
