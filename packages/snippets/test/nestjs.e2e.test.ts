/** What a real NestJS emits by its Redis transport, in every form that a refresh may have. */
import { connect, type NodeServer, type RedisServer, startNode, startRedis } from "@carillon/testkit";
import { type ClientProxy, ClientProxyFactory, Transport } from "@nestjs/microservices";
import { lastValueFrom } from "rxjs";
import { afterAll, beforeAll, expect, onTestFinished, test } from "vitest";

let redis: RedisServer | undefined;
let nodes: NodeServer[] = [];
let nest: ClientProxy | undefined;

beforeAll(async () => {
  redis = await startRedis();
  const env = { REDIS_URL: redis.url, COALESCE_MS: "0" };
  nodes = await Promise.all([startNode(env), startNode(env)]);
  nest = ClientProxyFactory.create({ transport: Transport.REDIS, options: { host: "127.0.0.1", port: redis.port } });
  await nest.connect();
});
afterAll(async () => {
  await nest?.close();
  await Promise.all(nodes.map((node) => node.stop(3000)));
  await redis?.stop();
});

const emit = async (pattern: string, data: unknown): Promise<void> => {
  await lastValueFrom(nest!.emit(pattern, data), { defaultValue: undefined });
};

test.each([
  ["refresh.trips", { scope: "AN_OBJECT" }, "AN_OBJECT"],
  ["trips.refresh", { scope: "OTHER_SPELLING" }, "OTHER_SPELLING"],
  ["refresh.trips", { type: "REFRESH", scope: "AS_ON_THE_WIRE" }, "AS_ON_THE_WIRE"],
  ["refresh.trips", "AS_TEXT", "AS_TEXT"],
  ["refresh.trips", {}, "ALL"],
  ["refresh.trips", "", "ALL"],
  ["trip.status_changed", { type: "OF_AN_EVENT", id: 42 }, "OF_AN_EVENT"],
  ["trip.status_changed", { id: 42 }, "TRIP_STATUS_CHANGED"],
])("%s with %j refreshes clients of both nodes once, with %s", async (pattern, data, scope) => {
  const clients = nodes.map(({ url }) => connect(url, "/trips"));
  onTestFinished(() => {
    for (const client of clients) client.close();
  });
  await Promise.all(clients.map(({ ready }) => ready));

  await emit(pattern, data);
  await emit("refresh.trips", { scope: "THE_END" });

  for (const client of clients) {
    await client.next("refresh", (change) => change.scope === "THE_END");
    const heard = client.events.filter(({ event }) => event === "refresh").map(({ args }) => args[0]);
    expect(heard).toEqual([scope, "THE_END"].map((each) => ({ type: "REFRESH", scope: each })));
  }
});

test("a user and a payload go with it, and others hear nothing", async () => {
  const [mine, others] = ["42", "7"].map((user, index) => connect(nodes[index]!.url, "/trips", { auth: { user } }));
  onTestFinished(() => {
    mine?.close();
    others?.close();
  });
  await Promise.all([mine?.ready, others?.ready]);

  await emit("refresh.trips", { scope: "TRIP_APPROVED", to: { users: [42] }, payload: { tripId: 42 } });
  await emit("refresh.trips", { scope: "THE_END" });

  await others?.next("refresh", (change) => change.scope === "THE_END");
  expect((await mine?.next("refresh"))?.args[0]).toEqual({
    type: "REFRESH",
    scope: "TRIP_APPROVED",
    payload: { tripId: 42 },
  });
  expect(others?.events.filter(({ event }) => event === "refresh")).toHaveLength(1);
});
