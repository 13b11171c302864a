/** Nodes are killed while notifications are stored, decided and told: nothing is lost, and no device gets anything twice. */
import { randomUUID } from "node:crypto";
import {
  api,
  connect,
  NodeServer,
  type PostgresServer,
  queryAt,
  type RedisServer,
  startPostgres,
  startRedis,
  waitFor,
} from "@carillon/testkit";
import { afterAll, beforeAll, expect, onTestFinished, test } from "vitest";

const USERS = 20;
const NOTIFICATIONS = 60;
/** Of each node that is killed. */
const KILLS = 2;

let redis: RedisServer;
let postgres: PostgresServer;

beforeAll(async () => {
  [redis, postgres] = await Promise.all([startRedis({ appendonly: "always" }), startPostgres()]);
});

afterAll(async () => {
  await Promise.all([redis?.stop(), postgres?.stop()]);
});

async function node(roles: string): Promise<NodeServer> {
  const env = { REDIS_URL: redis.url, DATABASE_URL: postgres.url, PUSH_ACK_MS: "300", DRAIN_TIMEOUT_S: "1" };
  const started = new NodeServer({ ...env, ROLES: roles });
  onTestFinished(async () => void (await started.stop(3000).catch(() => {})));
  await started.start();
  return started;
}

test("each notification is stored once, told, and decided once for each device, whoever is killed meanwhile", async () => {
  const gateways = [await node("gateway,bridge"), await node("gateway,bridge")];
  const pushers = [await node("push"), await node("push")];
  const users = Array.from({ length: USERS }, (_, n) => `user-${n}`);
  const first = gateways[0];
  if (first === undefined) throw new Error("no node");
  for (const user of users)
    for (const device of ["a", "b"]) {
      const rest = api(first.url, { "x-carillon-user": user });
      const body = { platform: "web", token: `${user}-${device}` };
      expect((await rest.put(`/api/devices/${user}-${device}`, body)).status).toBe(200);
    }
  const listener = connect(first.url, "/notifications", { auth: { user: "user-0" }, reconnectionDelayMax: 300 });
  onTestFinished(() => listener.close());
  await listener.ready;
  let killing = true;
  // The gateways too, but the one that the listener is at stays: what it hears is looked at.
  const victims = [...pushers, gateways[1]];
  const kills = Promise.all(victims.map((victim) => killAgainAndAgain(victim))).finally(() => {
    killing = false;
  });
  const expected = new Map<string, string[]>();

  for (let n = 0; n < NOTIFICATIONS || killing; n++) {
    const userIds = users.filter((_, i) => (n + i) % 4 === 0);
    expected.set(await notifyUntilAnswered(gateways, userIds, n), userIds);
  }
  await kills;

  await waitFor(
    async () => (await rows("select from carillon.inbox_entry where push_due_at is not null")).length === 0,
    {
      what: "everything to be decided",
      timeoutMs: 60_000,
    },
  );
  const entries = await rows<{ e: string; u: string }>("select event_id e, user_id u from carillon.inbox_entry");
  const pushes = await rows<{ e: string; i: string }>(
    "select event_id e, installation_id i from carillon.push_attempt",
  );
  const wanted = [...expected].flatMap(([event, userIds]) => userIds.map((user) => `${event} ${user}`));
  expect(entries.map(({ e, u }) => `${e} ${u}`).toSorted()).toEqual(wanted.toSorted());
  expect(pushes.map(({ e, i }) => `${e} ${i}`).toSorted()).toEqual(
    wanted.flatMap((entry) => [`${entry}-a`, `${entry}-b`]).toSorted(),
  );
  const hers = [...expected].filter(([, userIds]) => userIds.includes("user-0")).map(([event]) => event);
  const heard = () => listener.events.flatMap(({ args }) => args[0]?.payload?.eventId ?? []);
  await waitFor(() => hers.every((event) => heard().includes(event)), { what: "all refreshes", timeoutMs: 30_000 });
  expect(heard().toSorted()).toEqual(hers.toSorted());
});

async function killAgainAndAgain(victim: NodeServer | undefined): Promise<void> {
  for (let n = 0; n < KILLS; n++) {
    await new Promise((resolve) => setTimeout(resolve, 100 + Math.random() * 500)); // whatever it is at then
    await victim?.kill();
    await victim?.start();
  }
}

/** By REST with a key, at whichever gateway answers; every third by SQL. Resolves with the event's id. */
async function notifyUntilAnswered(
  gateways: readonly NodeServer[],
  userIds: readonly string[],
  n: number,
): Promise<string> {
  if (n % 3 === 0) {
    const [row] = await queryAt(postgres.url, "select carillon.notify($1::text[], 'SQL', 'T', 'B') as id", [userIds]);
    return String(row?.id);
  }
  const key = { "idempotency-key": randomUUID() };
  const body = { userIds, type: "REST", title: "T", body: "B" };
  return waitFor(
    async () => {
      const gateway = gateways[Math.floor(Math.random() * gateways.length)];
      if (gateway?.running !== true) return undefined;
      const answer = await api(gateway.url)
        .post("/api/notify", body, key)
        .catch(() => undefined);
      return answer?.status === 202 ? (answer.body.eventId as string) : undefined;
    },
    { what: "an answer", timeoutMs: 60_000 },
  );
}

function rows<Row extends Record<string, unknown>>(sql: string): Promise<Row[]> {
  return queryAt<Row>(postgres.url, sql);
}
