/** The unmodified firebase-admin against the stand-in: every row of the classification, and a bound on everything. */
import { readFileSync } from "node:fs";
import { type FcmBehaviour, type FcmServer, startFcm, waitFor } from "@carillon/testkit";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { readFirebaseAccount } from "../../src/fcm/account.ts";
import { CLASSIFICATION, classify, REASONS, type Reason } from "../../src/fcm/classify.ts";
import { FirebaseFcm } from "../../src/fcm/firebase.ts";

let server: FcmServer;
let fcm: FirebaseFcm;

beforeAll(async () => {
  server = await startFcm();
  server.redirect();
});
afterAll(() => server?.stop());
afterEach(async () => {
  server.byDefault = "ok";
  server.oauth = "ok";
  await fcm?.close();
});

const open = () => {
  fcm = new FirebaseFcm(readFirebaseAccount(server.credentials));
  return fcm;
};
const to = (token: string, data: Record<string, string> = {}) => ({ token, data });

const PLAYED: Record<Exclude<Reason, "credentials">, readonly FcmBehaviour[]> = {
  unregistered: ["unregistered"],
  other_sender: ["sender-id-mismatch"],
  platform_key: ["apns-key-wrong"],
  bad_token: ["bad-token", "bad-token-field"],
  bad_message: ["bad-payload", "too-big"],
  device_quota: ["quota-device"],
  quota: ["quota-project", "quota-bare"],
  unavailable: ["unavailable", "unavailable-long"],
  internal: ["internal", "bad-gateway"],
  no_project: ["no-such-project", "html-404"],
  nonsense: ["not-json", "no-name", "cut-json"],
  network: ["reset", "goaway"],
  unknown: ["unheard-of"],
};

describe("an answer of FCM", () => {
  const played = { ...PLAYED, credentials: ["unauthenticated", "permission-denied"] as const };
  const cases = REASONS.flatMap((reason) => played[reason].map((behaviour) => ({ behaviour, reason })));

  test.each(cases)("$behaviour is $reason, after one request", async ({ behaviour, reason }) => {
    const token = `one ${String(behaviour)}`;
    server.script(token, behaviour);

    const [ok, failed] = await open().send([to("well"), to(token)]);

    expect(ok).toEqual({ name: expect.stringContaining("/messages/") });
    expect(failed).toHaveProperty("failure");
    if (failed === undefined || !("failure" in failed)) return;
    expect(classify(failed.failure).reason).toBe(reason);
    expect(server.to(token)).toHaveLength(1);
  });

  test("what firebase-admin itself refuses is bad_message and reaches nobody", async () => {
    const before = server.sends;

    const [result] = await open().send([{ token: "t", data: { n: 1 as unknown as string } }]);

    expect(result !== undefined && "failure" in result && classify(result.failure).reason).toBe("bad_message");
    expect(server.sends).toBe(before);
  });

  test("Retry-After is told", async () => {
    server.script("slow", "unavailable-long");

    const [result] = await open().send([to("slow")]);

    expect(result).toMatchObject({ failure: { retryAfterS: 120, status: 503, fcmCode: "UNAVAILABLE" } });
  });

  test("the documentation has the same rows", () => {
    const text = readFileSync(new URL("../../../../docs/push-sending.md", import.meta.url), "utf8");
    const rows = [...text.matchAll(/^\| `(\w+)` \| (.*) \| (.*) \|$/gm)].map(([, reason, when, action]) => ({
      reason,
      when,
      action: action?.split("`")[1],
    }));

    expect(rows.filter(({ reason }) => (REASONS as string[]).includes(reason ?? ""))).toEqual(CLASSIFICATION);
  });
});

describe("an access token", () => {
  test.each([
    ["invalid-grant", "credentials"],
    ["account-disabled", "credentials"],
    ["oauth-unavailable", "network"],
    ["reset", "network"],
  ] as const)("that is not given by %s is %s for every message, and none is sent", async (behaviour, reason) => {
    server.oauth = behaviour;
    const before = server.sends;

    const results = await open().send([to("a"), to("b")]);

    expect(results.map((result) => "failure" in result && classify(result.failure).reason)).toEqual([reason, reason]);
    expect(server.sends).toBe(before);
    expect(JSON.stringify(results)).not.toMatch(/PRIVATE KEY|assertion/);
  });

  test("is fetched once for many batches", async () => {
    const before = server.tokenRequests;
    open();

    for (let i = 0; i < 3; i++) await fcm.send([to("a"), to("b")]);

    expect(server.tokenRequests).toBe(before + 1);
  });
});

test("500 messages are 500 requests over at most 50 connections, each answered in its place", async () => {
  const tokens = Array.from({ length: 500 }, (_, i) => `many-${i}`);
  server.mostAtOnce = 0;
  server.script("many-7", "unregistered");
  server.script("many-77", { afterMs: 300, answer: "ok" });

  const results = await open().send(tokens.map((token) => to(token)));

  expect(results.map((result) => "name" in result)).toEqual(tokens.map((token) => token !== "many-7"));
  expect(tokens.every((token) => server.to(token).length === 1)).toBe(true);
  expect(server.mostAtOnce).toBeLessThanOrEqual(50);
});

test("validating only sends nothing", async () => {
  await open().send([to("dry")], { validateOnly: true });

  expect(server.accepted.has("dry")).toBe(false);
});

test("silence ends within a bound", { timeout: 60_000 }, async () => {
  server.script("silent", "hang");

  const [silent, heard] = await open().send([to("silent"), to("heard")]);

  expect(silent !== undefined && "failure" in silent && classify(silent.failure)).toMatchObject({
    reason: "network",
    uncertain: true,
  });
  expect(heard).toHaveProperty("name");
});

test("a stand-in that was away and is back is used again", async () => {
  open();
  await fcm.send([to("a")]);
  await server.stop();
  const away = await fcm.send([to("b")]);
  await server.start();

  expect(away).toEqual([{ failure: expect.objectContaining({ clientCode: expect.stringMatching(/^app\/network/) }) }]);
  await waitFor(async () => "name" in ((await fcm.send([to("c")]))[0] ?? {}), { what: "a message to arrive" });
});
