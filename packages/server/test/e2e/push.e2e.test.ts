/** From a notification to FCM, over real nodes, Postgres and Redis, and what operators see of it. */
import {
  api,
  type FcmServer,
  NodeServer,
  type PostgresServer,
  startFcm,
  startPostgres,
  startRedis,
  waitFor,
} from "@carillon/testkit";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";

let postgres: PostgresServer;
let redis: Awaited<ReturnType<typeof startRedis>>;
let fcm: FcmServer;
let nodes: NodeServer[];
let url: string;

beforeAll(async () => {
  [postgres, redis, fcm] = await Promise.all([startPostgres(), startRedis(), startFcm()]);
  const env = { DATABASE_URL: postgres.url, REDIS_URL: redis.url, PUSH_ACK_MS: "300", ...fcm.env };
  // The second one only serves: operators may ask any node.
  nodes = [
    new NodeServer({ ...env, FIREBASE_CREDENTIALS: mangled(fcm.credentials) }),
    new NodeServer({ ...env, ROLES: "gateway,bridge" }),
  ];
  await Promise.all(nodes.map((node) => node.start()));
  url = nodes[1]?.url ?? "";
});
afterAll(async () => {
  await Promise.all((nodes ?? []).map((node) => node.stop()));
  await Promise.all([postgres?.stop(), redis?.stop(), fcm?.stop()]);
});
beforeEach(() => fcm.reset());

const notify = async (userIds: string[], more: object = {}) => {
  const body = { userIds, type: "TRIP_APPROVED", title: "Trip Approved", body: "Yes", ...more };
  const answer = await api(url).post("/api/notify", body);
  expect(answer.status).toBe(202);
  return answer.body.eventId as string;
};
const register = async (user: string, installation: string, address: object, platform = "android") => {
  const answer = await api(url).put(
    `/api/devices/${installation}`,
    { platform, ...address },
    { "x-carillon-user": user },
  );
  expect(answer.status).toBe(200);
};
const attempts = async (query: string) =>
  (await api(url).get(`/api/push/attempts?${query}`)).body as {
    attempts: Record<string, unknown>[];
    cursor: string | null;
  };
const settledAs = (query: string, outcome: string) =>
  waitFor(async () => (await attempts(query)).attempts.find((attempt) => attempt.outcome === outcome), {
    what: `an attempt of ${query} that is ${outcome}`,
    timeoutMs: 30_000,
  });

test("a notification that nobody saw reaches each device of its user by FCM, by token and by installation id", async () => {
  await register("ann", "ann-phone", { token: "ann-token" });
  await register("ann", "ann-pad", { fid: "ann-fid" }, "ios");
  await register("bob", "bob-phone", { token: "bob-token" });

  const eventId = await notify(["ann"], { data: { tripId: 42 } });
  await waitFor(() => fcm.requests.length === 2, { what: "two pushes", timeoutMs: 30_000 });

  expect(fcm.requests.map(({ target }) => target).toSorted()).toEqual(["ann-fid", "ann-token"]);
  expect(fcm.to("ann-token")[0]?.message).toMatchObject({
    notification: { title: "Trip Approved", body: "Yes" },
    data: { type: "TRIP_APPROVED", tripId: "42", notificationId: eventId, click_action: "FLUTTER_NOTIFICATION_CLICK" },
  });
  expect(await settledAs(`eventId=${eventId}&installationId=ann-phone`, "sent")).toMatchObject({
    userId: "ann",
    attempt: 1,
    status: 200,
    fcmName: expect.stringContaining("/messages/"),
  });
  expect(await nodes[0]?.metric("carillon_pushes_total", { outcome: "sent" })).toBeGreaterThanOrEqual(2);
});

test("a notification by SQL is pushed too", async () => {
  await register("sue", "sue-phone", { token: "sue-token" });

  await postgres.query("select carillon.notify('sue', 'SYSTEM_ALERT', 'Hello', 'You', '{}')");

  await waitFor(() => fcm.to("sue-token").length === 1, { what: "the push", timeoutMs: 30_000 });
});

describe("an operator", () => {
  test("tries a push and sees FCM's real answers, and no device is removed by it", async () => {
    await register("tim", "tim-good", { token: "tim-good" });
    await register("tim", "tim-gone", { token: "tim-gone" });
    fcm.script("tim-gone", "unregistered");

    const answer = await api(url).post("/api/push/test", { userId: "tim" });

    expect(answer.status).toBe(200);
    expect(answer.body.results).toEqual([
      {
        userId: "tim",
        installationId: "tim-gone",
        platform: "android",
        ok: false,
        status: 404,
        fcmCode: "UNREGISTERED",
        reason: "unregistered",
        message: "Requested entity was not found.",
      },
      expect.objectContaining({ installationId: "tim-good", ok: true, fcmName: expect.any(String) }),
    ]);
    expect(await postgres.query("select from carillon.device where user_id = 'tim'")).toHaveLength(2);
    expect((await attempts("userId=tim&outcome=test")).attempts).toHaveLength(2);
  });

  test("is told that there is no such device, and to say which", async () => {
    expect((await api(url).post("/api/push/test", { userId: "nobody" })).body.code).toBe("NOT_FOUND");
    expect((await api(url).post("/api/push/test", {})).body.code).toBe("INVALID_REQUEST");
  });

  test("finds what was given up and sends it again", async () => {
    await register("kim", "kim-phone", { token: "kim-token" });
    fcm.script("kim-token", "bad-payload", "ok");

    const eventId = await notify(["kim"]);
    const failed = await settledAs(`eventId=${eventId}&outcome=failed`, "failed");
    expect(failed).toMatchObject({ reason: "bad_message", detail: { fields: ["message.data[0].value"] } });

    const answer = await api(url).post("/api/push/redrive", { eventId });
    expect(answer.body).toEqual({ redriven: 1 });
    await settledAs(`eventId=${eventId}`, "sent");
    expect((await api(url).post("/api/push/redrive", { eventId })).body).toEqual({ redriven: 0 });
  });

  test("reads attempts page by page", async () => {
    await register("pat", "pat-1", { token: "pat-1" });
    await register("pat", "pat-2", { token: "pat-2" });
    await notify(["pat"]);
    await waitFor(async () => (await attempts("userId=pat&outcome=sent")).attempts.length === 2, {
      what: "two pushes",
      timeoutMs: 30_000,
    });

    const first = await attempts("userId=pat&limit=1");
    const second = await attempts(`userId=pat&limit=1&cursor=${first.cursor}`);

    expect([...first.attempts, ...second.attempts].map(({ installationId }) => installationId).toSorted()).toEqual([
      "pat-1",
      "pat-2",
    ]);
    expect(second.cursor).toBeNull();
    expect((await api(url).get("/api/push/attempts?cursor=x")).body.code).toBe("INVALID_REQUEST");
  });

  test("sees in readiness why nothing is sent, and that it is over", async () => {
    await register("zoe", "zoe-phone", { token: "zoe-token" });
    fcm.byDefault = "permission-denied";
    await notify(["zoe"]);

    const degraded = await waitFor(
      async () => {
        const { body } = (await nodes[0]?.readyz()) ?? {};
        return body?.checks.push.status === "degraded" && body;
      },
      { what: "push to be degraded", timeoutMs: 30_000 },
    );
    expect(degraded.status).toBe("degraded");
    expect(degraded.checks.push.reason).toContain("credentials");

    fcm.byDefault = "ok";
    await postgres.query("update carillon.push_pause set until_at = now()");
    await waitFor(() => fcm.accepted.has("zoe-token"), { what: "the push", timeoutMs: 30_000 });
    await waitFor(async () => (await nodes[0]?.readyz())?.body.checks.push.status === "ok", { what: "push to be ok" });
  });
});

test("without credentials pushes are recorded as not sent, and what needs them says so", async () => {
  const bare = new NodeServer({ DATABASE_URL: await postgres.createDatabase() });
  await bare.start();
  try {
    const user = { "x-carillon-user": "ann" };
    await api(bare.url).put("/api/devices/phone", { platform: "android", token: "t" }, user);
    await api(bare.url).post("/api/notify", { userIds: ["ann"], type: "A", title: "B", body: "C" });

    await waitFor(
      async () => (await api(bare.url).get("/api/push/attempts?outcome=not_sent")).body.attempts.length === 1,
      { what: "the record", timeoutMs: 30_000 },
    );
    for (const path of ["/api/push/test", "/api/push/redrive"]) {
      const answer = await api(bare.url).post(path, path.endsWith("test") ? { userId: "ann" } : {});
      expect([answer.status, answer.body.code]).toEqual([501, "NOT_CONFIGURED"]);
    }
  } finally {
    await bare.stop();
  }
});

test("nothing that a node writes has anything of the credentials", () => {
  const output = nodes.map((node) => node.output).join("\n");

  expect(output).toContain("ready");
  expect(output).not.toMatch(/PRIVATE KEY|MII[A-Za-z0-9+/]{20}|stand-in/);
});

test("credentials that can't be used end the start, with the reason and nothing of them", async () => {
  const node = new NodeServer({
    DATABASE_URL: postgres.url,
    FIREBASE_CREDENTIALS: JSON.stringify({ ...JSON.parse(fcm.credentials), private_key: "LEAKME" }),
  });

  await expect(node.start()).rejects.toThrow("FIREBASE_CREDENTIALS must be a service account with a whole private key");
  expect(node.output).not.toContain("LEAKME");
});

/** As .env files do it. */
function mangled(credentials: string): string {
  const account = JSON.parse(credentials);
  return JSON.stringify({ ...account, private_key: account.private_key.replaceAll("\n", "\\n") });
}
