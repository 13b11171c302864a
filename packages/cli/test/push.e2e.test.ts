import {
  api,
  type FcmServer,
  type NodeServer,
  type PostgresServer,
  startFcm,
  startNode,
  startPostgres,
  waitFor,
} from "@carillon/testkit";
import { afterAll, beforeAll, expect, test } from "vitest";
import { carillon } from "./support.ts";

let postgres: PostgresServer;
let fcm: FcmServer;
let node: NodeServer;
let env: Record<string, string>;

beforeAll(async () => {
  [postgres, fcm] = await Promise.all([startPostgres(), startFcm()]);
  node = await startNode({
    DATABASE_URL: postgres.url,
    PUSH_ACK_MS: "200",
    FIREBASE_CREDENTIALS: JSON.stringify(fcm.credentials),
    ...fcm.env,
  });
  env = { CARILLON_URL: node.url };
  const device = { platform: "android", token: "ann-token" };
  const { status } = await api(node.url).put("/api/devices/ann-phone", device, { "x-carillon-user": "ann" });
  expect(status).toBe(200);
});

afterAll(async () => {
  await node?.stop();
  await Promise.all([postgres?.stop(), fcm?.stop()]);
});

test("notify puts an entry into the inbox, and its push is among the attempts", async () => {
  const args = ["--title", "Approved", "--body", "Yes", "--data", '{"tripId":42}'];

  const { code, out, err } = await carillon(["notify", "TRIP_APPROVED", "--users", "ann", ...args], { env });
  const eventId = out.split(" ")[0] ?? "";
  const sent = new RegExp(`sent +1 +ann +ann-phone +${eventId}`);
  const attempts = () => carillon(["push", "attempts", "--event", eventId], { env });
  await waitFor(async () => sent.test((await attempts()).out), { what: "the push", timeoutMs: 30_000, everyMs: 200 });

  expect({ code, err }).toEqual({ code: 0, err: "" });
  expect(out).toMatch(/ {2}1 entry\n$/);
  expect(fcm.to("ann-token")[0]?.message).toMatchObject({
    notification: { title: "Approved", body: "Yes" },
    data: { type: "TRIP_APPROVED", tripId: "42" },
  });
});

test("push test shows FCM's answer, and whom nobody knows is told", async () => {
  const tested = await carillon(["push", "test", "--user", "ann", "--title", "Hello"], { env });
  const nobody = await carillon(["push", "test", "--user", "nobody"], { env });
  const none = await carillon(["push", "test"], { env });

  expect(tested).toMatchObject({ code: 0, err: "" });
  expect(tested.out).toMatch(/^USER .*\nann +ann-phone +android +taken\n$/);
  expect(nobody).toMatchObject({ code: 1, err: expect.stringContaining("no such device") });
  expect(none).toMatchObject({ code: 1, err: expect.stringContaining("userId, installationId or both") });
});

test("redrive says how many it sent again", async () => {
  const { code, out } = await carillon(["push", "redrive", "--user", "ann"], { env });

  expect({ code, out }).toEqual({ code: 0, out: "0 sent again\n" });
});
