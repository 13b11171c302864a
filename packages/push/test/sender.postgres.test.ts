/** The sender on a real Postgres and pg-boss, by the unmodified firebase-admin to the stand-in. */
import { type FcmServer, startFcm, waitFor } from "@carillon/testkit";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { Stage } from "./stage.ts";

let fcm: FcmServer;
let stage: Stage;

beforeAll(async () => {
  fcm = await startFcm();
  fcm.redirect();
});
afterAll(() => fcm?.stop());
beforeEach(async () => {
  fcm.reset();
  stage = await Stage.open(fcm);
});
afterEach(() => stage?.close());

test("a push reaches its device once, as the documented message, and FCM's name for it is recorded", async () => {
  const queue = await stage.queue();
  const jobs = await stage.event("ann", ["phone"], { title: "Trip Approved", body: "Yes", data: { tripId: 42 } });
  await queue.add(jobs);
  await queue.add(jobs);

  await stage.sender();
  await stage.idle(queue);

  expect(fcm.requests).toHaveLength(1);
  expect(fcm.requests[0]?.message).toMatchObject({
    token: "phone",
    notification: { title: "Trip Approved", body: "Yes" },
    data: { type: "TRIP_APPROVED", tripId: "42", notificationId: jobs[0]?.eventId },
    apns: { payload: { aps: { badge: 1 } } },
  });
  expect(await stage.attempts()).toMatchObject([
    { installation_id: "phone", attempt: 1, outcome: "sent", fcm_name: expect.stringContaining("/messages/") },
  ]);
});

test("a job is there if and only if its transaction commits", async () => {
  const queue = await stage.queue();
  const jobs = await stage.event("ann", ["phone"]);

  const failing = stage.database.transaction(async ({ client }) => {
    await queue.add(jobs, client);
    throw new Error("changed my mind");
  });
  await expect(failing).rejects.toThrow("changed my mind");
  expect((await queue.depth()).waiting).toBe(0);

  await stage.database.transaction(({ client }) => queue.add(jobs, client));
  expect((await queue.depth()).waiting).toBe(1);
});

test("several senders at once send each push once", async () => {
  const queue = await stage.queue();
  const devices = Array.from({ length: 700 }, (_, i) => `d${i}`);
  await queue.add(await stage.event("ann", devices));

  await Promise.all([stage.sender(), stage.sender(), stage.sender()]);
  await stage.idle(queue, 40_000);

  expect([...fcm.accepted.values()].filter((times) => times !== 1)).toEqual([]);
  expect(fcm.accepted.size).toBe(700);
});

describe("right before sending", () => {
  test.each([
    ["the entry was read", "update carillon.inbox_entry set read_at = now()", "read"],
    ["it was archived", "update carillon.inbox_entry set archived_at = now()", "read"],
    ["the user logged out", "delete from carillon.device", "device_gone"],
    ["another user has the device", "update carillon.device set user_id = 'bob'", "device_moved"],
    ["its token went to another device", "update carillon.device set token = null", "device_gone"],
    ["the device is disabled", "update carillon.device set disabled_at = now()", "device_disabled"],
    ["the entry is gone", "delete from carillon.inbox_entry", "entry_gone"],
  ])("%s: nothing is sent, and that is recorded", async (_what, change, reason) => {
    const queue = await stage.queue();
    await queue.add(await stage.event("ann", ["phone"]));
    await stage.database.rows(change);

    await stage.sender();
    await stage.idle(queue);

    expect(fcm.requests).toEqual([]);
    expect(await stage.attempts()).toMatchObject([{ outcome: "skipped", error_code: reason }]);
  });

  test("the same user registered again with another token: that one is used", async () => {
    const queue = await stage.queue();
    await queue.add(await stage.event("ann", ["phone"]));
    await stage.database.rows(
      "update carillon.device set token = 'fresh', revision = nextval('carillon.device_revision')",
    );

    await stage.sender();
    await stage.idle(queue);

    expect(fcm.requests.map(({ target }) => target)).toEqual(["fresh"]);
  });
});

describe("an answer", () => {
  test("UNREGISTERED removes the device", async () => {
    const queue = await stage.queue();
    await queue.add(await stage.event("ann", ["gone", "here"]));
    fcm.script("gone", "unregistered");

    await stage.sender();
    await stage.idle(queue);

    expect(await stage.devices()).toEqual(["here"]);
    expect(await stage.attempts("installation_id = 'gone'")).toMatchObject([
      { outcome: "device_removed", error_code: "unregistered", detail: { fcmCode: "UNREGISTERED" } },
    ]);
    expect(stage.counted("devicesRemoved", { reason: "unregistered" })).toBe(1);
  });

  test.each(["unregistered", "sender-id-mismatch"] as const)(
    "%s about an address that was replaced meanwhile: the device stays, and the push goes to the new one",
    async (answer) => {
      const queue = await stage.queue();
      await queue.add(await stage.event("ann", ["phone"]));
      fcm.script("phone", { afterMs: 500, answer });

      await stage.sender();
      await waitFor(() => fcm.requests.length === 1, { what: "the message to arrive" });
      await stage.database.rows(
        "update carillon.device set token = 'fresh', revision = nextval('carillon.device_revision')",
      );
      await stage.idle(queue);

      expect(fcm.accepted.get("fresh")).toBe(1);
      expect(await stage.devices("disabled_at is null")).toEqual(["phone"]);
      expect(await stage.attempts()).toMatchObject([{ outcome: "retry" }, { outcome: "sent" }]);
    },
  );

  test("SENDER_ID_MISMATCH disables it", async () => {
    const queue = await stage.queue();
    await queue.add(await stage.event("ann", ["foreign"]));
    fcm.script("foreign", "sender-id-mismatch");

    await stage.sender();
    await stage.idle(queue);

    expect(await stage.database.rows("select disabled_reason from carillon.device")).toEqual([
      { disabled_reason: "SENDER_ID_MISMATCH" },
    ]);
  });

  test("that a repeat may mend is repeated until it does, each attempt recorded", async () => {
    const queue = await stage.queue();
    await queue.add(await stage.event("ann", ["flaky"]));
    fcm.script("flaky", "unavailable", "internal", "ok");

    await stage.sender();
    await stage.idle(queue, 30_000);

    expect(await stage.attempts()).toMatchObject([
      { attempt: 1, outcome: "retry", error_code: "unavailable" },
      { attempt: 2, outcome: "retry", error_code: "internal" },
      { attempt: 3, outcome: "sent" },
    ]);
  });

  test("Retry-After is kept to", async () => {
    const queue = await stage.queue();
    await queue.add(await stage.event("ann", ["busy"]));
    fcm.script("busy", "quota-device", "ok");

    await stage.sender();
    await stage.idle(queue);

    const [first, second] = fcm.to("busy").map(({ at }) => at);
    expect((second ?? 0) - (first ?? 0)).toBeGreaterThanOrEqual(2000);
  });

  test("that nothing mends goes to the dead letters, and can be sent from there", async () => {
    const queue = await stage.queue();
    const jobs = await stage.event("ann", ["odd"]);
    await queue.add(jobs);
    fcm.script("odd", "bad-payload", "ok");

    await stage.sender();
    await stage.idle(queue);
    expect(await queue.depth()).toMatchObject({ dead: 1 });
    expect(await stage.attempts()).toMatchObject([{ outcome: "failed", error_code: "bad_message" }]);

    expect(await queue.redrive({ eventId: "another", limit: 10 })).toBe(0);
    expect(await queue.redrive({ eventId: jobs[0]?.eventId ?? "", limit: 10 })).toBe(1);
    await stage.idle(queue);
    expect(fcm.accepted.get("odd")).toBe(1);
    expect(await queue.depth()).toMatchObject({ dead: 0 });
  });

  test("that comes too late for the notification's time is given up, and redriving gives it new time", async () => {
    const queue = await stage.queue();
    await queue.add(await stage.event("ann", ["late"]));
    await stage.database.rows("update carillon.inbox_entry set created_at = now() - interval '2 hours'");

    await stage.sender();
    await stage.idle(queue);
    expect(await stage.attempts()).toMatchObject([{ outcome: "failed", error_code: "expired" }]);
    expect(fcm.requests).toEqual([]);

    expect(await queue.redrive({ limit: 10 })).toBe(1);
    await stage.idle(queue);
    expect(fcm.accepted.get("late")).toBe(1);
  });
});

describe("a pause", () => {
  test("of the project's quota holds every sender, and ends by itself", async () => {
    const queue = await stage.queue();
    fcm.script("first", "quota-project", "ok");
    await queue.add(await stage.event("ann", ["first"]));
    await stage.sender();
    await waitFor(async () => (await stage.pauses.current()).length === 1, { what: "the pause" });
    const pausedAt = Date.now();

    await stage.sender();
    await queue.add(await stage.event("bob", ["second", "third"]));
    await stage.idle(queue, 30_000);

    expect(fcm.to("second")[0]?.at).toBeGreaterThan(pausedAt + 1500);
    expect([...fcm.accepted]).toEqual(
      expect.arrayContaining([
        ["first", 1],
        ["second", 1],
        ["third", 1],
      ]),
    );
    await waitFor(async () => (await stage.pauses.current()).length === 0, { what: "the end of the pause" });
  });

  test("of a broken configuration loses nothing, says why, and is over when it works again", async () => {
    const queue = await stage.queue();
    fcm.byDefault = "permission-denied";
    await queue.add(await stage.event("ann", ["a", "b"]));
    await stage.sender();

    const [pause] = await waitFor(
      async () => {
        const pauses = await stage.pauses.current();
        return pauses.length > 0 && pauses;
      },
      { what: "the pause" },
    );
    expect(pause).toMatchObject({
      scope: "all",
      cause: "configuration",
      reason: expect.stringContaining("credentials"),
    });
    const sends = fcm.sends;

    fcm.byDefault = "ok";
    await stage.database.rows("update carillon.push_pause set until_at = now()");
    await stage.idle(queue, 30_000);
    expect(fcm.sends).toBeGreaterThan(sends);
    expect([...fcm.accepted.entries()].toSorted()).toEqual([
      ["a", 1],
      ["b", 1],
    ]);
    expect(await stage.pauses.current()).toEqual([]);
    expect(await stage.devices()).toEqual(["a", "b"]);
  });

  test("of one platform's key leaves the other platforms alone", async () => {
    const queue = await stage.queue();
    await queue.add(await stage.event("ann", ["droid", "apple"]));
    await stage.database.rows("update carillon.device set platform = 'ios' where installation_id = 'apple'");
    fcm.script("apple", "apns-key-wrong", "ok");
    await stage.sender();
    await waitFor(async () => (await stage.pauses.current()).some(({ scope }) => scope === "ios"), {
      what: "the pause",
    });

    await queue.add(await stage.event("bob", ["droid2"]));
    await waitFor(() => fcm.accepted.has("droid2"), { what: "the other platform's push" });
    expect(fcm.accepted.has("apple")).toBe(false);
  });

  test("the brake: when many devices look dead none is removed, sending stops, and the pushes are kept", async () => {
    const queue = await stage.queue();
    const devices = Array.from({ length: 50 }, (_, i) => `d${i}`);
    for (const device of devices.slice(0, 15)) fcm.script(device, "unregistered");
    await queue.add(await stage.event("ann", devices));

    await stage.sender({ lanes: 1 });
    await stage.idle(queue);

    expect(await stage.devices()).toHaveLength(50);
    expect(await queue.depth()).toMatchObject({ dead: 15 });
    expect(await stage.pauses.current()).toMatchObject([{ scope: "all", cause: "brake" }]);
    expect(fcm.accepted.size).toBe(35);
  });

  test("a fifth and less is an ordinary day", async () => {
    const queue = await stage.queue();
    const devices = Array.from({ length: 50 }, (_, i) => `d${i}`);
    for (const device of devices.slice(0, 10)) fcm.script(device, "unregistered");
    await queue.add(await stage.event("ann", devices));

    await stage.sender({ lanes: 1 });
    await stage.idle(queue);

    expect(await stage.devices()).toHaveLength(40);
    expect(await stage.pauses.current()).toEqual([]);
  });
});

describe("a sender that dies with jobs in its hands", () => {
  test("before it sent: another sends them", async () => {
    const queue = await stage.queue();
    await queue.add(await stage.event("ann", ["phone"]));
    await queue.take(10);
    await agedHeartbeats();

    await stage.sender();
    await stage.idle(queue, 40_000);

    expect(fcm.accepted.get("phone")).toBe(1);
  });

  test("after it sent: another sends them once more, and that is recorded and counted", async () => {
    const queue = await stage.queue();
    await queue.add(await stage.event("ann", ["phone"]));
    await queue.take(10);
    await stage.database.rows(
      `insert into carillon.push_attempt (event_id, user_id, installation_id, attempt, outcome)
       values ('event-1', 'ann', 'phone', 1, 'sending')`,
    );
    await agedHeartbeats();

    await stage.sender();
    await stage.idle(queue, 40_000);

    expect(await stage.attempts()).toMatchObject([
      { outcome: "lost" },
      { outcome: "sent", detail: { repeated: true } },
    ]);
    expect(stage.counted("pushesRepeated")).toBe(1);
  });

  test("after it recorded that it sent: nobody does again", async () => {
    const queue = await stage.queue();
    await queue.add(await stage.event("ann", ["phone"]));
    await queue.take(10);
    await stage.database.rows(
      `insert into carillon.push_attempt (event_id, user_id, installation_id, attempt, outcome)
       values ('event-1', 'ann', 'phone', 1, 'sent')`,
    );
    await agedHeartbeats();

    await stage.sender();
    await stage.idle(queue, 40_000);

    expect(fcm.requests).toEqual([]);
  });

  /** As if it had been silent for long. */
  const agedHeartbeats = () =>
    stage.database.rows(
      "update carillon_boss.job set heartbeat_on = now() - interval '1 minute' where state = 'active'",
    );
});

test("a stop waits for what is under way and leaves the rest to others", async () => {
  const queue = await stage.queue();
  const devices = Array.from({ length: 300 }, (_, i) => `d${i}`);
  await queue.add(await stage.event("ann", devices));
  fcm.byDefault = { afterMs: 300, answer: "ok" };

  const sender = await stage.sender({ lanes: 1 });
  await waitFor(() => fcm.sends > 0, { what: "the first message" });
  await sender.stop();

  expect(await queue.depth()).toMatchObject({ active: 0 });
  expect(await stage.attempts("outcome = 'sending'")).toEqual([]);
  expect(fcm.sends).toBeLessThan(300);
  fcm.byDefault = "ok";
  await stage.sender();
  await stage.idle(queue, 40_000);
  expect([...fcm.accepted.values()].filter((times) => times !== 1)).toEqual([]);
  expect(fcm.accepted.size).toBe(300);
});

test("nothing is sent beyond the quota, and all of it in the end", async () => {
  const queue = await stage.queue();
  const devices = Array.from({ length: 250 }, (_, i) => `d${i}`);
  await queue.add(await stage.event("ann", devices));
  let left = 100;

  await stage.sender({
    quota: {
      take: async (messages) => {
        if (left < messages) return 50;
        left -= messages;
        return 0;
      },
    },
  });
  await waitFor(() => fcm.sends === 100, { what: "what the quota allows" });
  await new Promise((resolve) => setTimeout(resolve, 500));
  expect(fcm.sends).toBe(100);

  left = 150;
  await stage.idle(queue, 40_000);
  expect(fcm.accepted.size).toBe(250);
});
