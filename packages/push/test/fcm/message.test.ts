import { describe, expect, test } from "vitest";
import { buildMessage, dataOf, MAX_MESSAGE_BYTES, type MessageContent } from "../../src/fcm/message.ts";

const now = Date.UTC(2026, 0, 1);
const content: MessageContent = {
  eventId: "5f0c2f6e-0f51-4b7c-9f5e-2f4f8a0c1d11",
  type: "TRIP_APPROVED",
  title: "Trip Approved",
  body: "Your trip request #42 has been approved.",
  data: { tripId: 42 },
  unread: 3,
  expiresAtMs: now + 3_600_000,
};

// biome-ignore lint/suspicious/noExplicitAny: a test says what it expects
const build = (changes: Partial<MessageContent> = {}): any =>
  buildMessage({ ...content, ...changes }, { token: "t" }, now).message;
const bytes = ({ token: _token, ...message }: Record<string, unknown>) => Buffer.byteLength(JSON.stringify(message));

test("a push is the documented message with each platform's own part", () => {
  const message = build();

  expect(message).toMatchObject({
    token: "t",
    notification: { title: "Trip Approved", body: "Your trip request #42 has been approved." },
    data: {
      type: "TRIP_APPROVED",
      tripId: "42",
      notificationId: content.eventId,
      click_action: "FLUTTER_NOTIFICATION_CLICK",
    },
    android: { priority: "high", ttl: 3_600_000 },
    apns: {
      headers: { "apns-priority": "10", "apns-push-type": "alert", "apns-expiration": String(now / 1000 + 3600) },
      payload: { aps: { badge: 3, sound: "default", threadId: "TRIP_APPROVED" } },
    },
    webpush: { headers: { TTL: "3600", Urgency: "high" } },
  });
});

test("the same event is one notification on the screen of every platform, in names that each of them takes", () => {
  const { android, apns, webpush } = build({ eventId: `trip approved, ${"x".repeat(200)}` });
  const tags = [
    android.collapseKey,
    android.notification.tag,
    apns.headers["apns-collapse-id"],
    webpush.headers.Topic,
    webpush.notification.tag,
  ];

  expect(new Set(tags).size).toBe(1);
  expect(tags[0]).toMatch(/^[\w-]{32}$/);
  expect(build({ eventId: "another" }).android.collapseKey).not.toBe(tags[0]);
});

test("an installation id of Firebase is an address like a token", () => {
  expect(buildMessage(content, { fid: "f" }, now).message).toMatchObject({ fid: "f" });
});

describe("data", () => {
  test("each value is text: text as it is, all else as JSON", () => {
    const data = { id: 21465, ok: true, tags: [1], nested: { a: null }, nothing: null, text: "x", undefined };

    expect(dataOf({ ...content, data })).toMatchObject({
      id: "21465",
      ok: "true",
      tags: "[1]",
      nested: '{"a":null}',
      nothing: "null",
      text: "x",
      undefined: "null",
    });
  });

  test("keys that FCM keeps for itself get another name", () => {
    const data = { from: "x", "google.x": "1", gcm: "2", "": "3", message_type: "4", notification: "5" };

    const keys = Object.keys(dataOf({ ...content, data }));

    expect(keys.filter((key) => /^(from|google|gcm|message_type|notification$|$)/.test(key))).toEqual([]);
    expect(keys).toContain("data_from");
    expect(keys).toHaveLength(Object.keys(data).length + 3);
  });

  test("type and notificationId are ours, whatever the notification says", () => {
    expect(dataOf({ ...content, data: { type: "mine", notificationId: "7", click_action: "OPEN" } })).toEqual({
      type: "TRIP_APPROVED",
      notificationId: content.eventId,
      click_action: "OPEN",
    });
  });
});

describe("size", () => {
  const room = MAX_MESSAGE_BYTES - bytes(build({ body: "" }));

  test.each([
    ["just fits", "a".repeat(room), undefined],
    ["is one byte too long", "a".repeat(room + 1), "body"],
    ["is twice too long", "a".repeat(room * 2), "body"],
    ["is of characters of four bytes", "🔔".repeat(1100), "body"],
    ["is of characters that JSON escapes", "\u0001\n".repeat(1000), "body"],
  ])("a body that %s", (_how, body, shortened) => {
    const built = buildMessage({ ...content, body }, { token: "t".repeat(500) }, now);
    const text = built.message.notification?.body ?? "";

    expect(built.shortened).toBe(shortened);
    expect(bytes(built.message as never)).toBeLessThanOrEqual(MAX_MESSAGE_BYTES);
    expect(text).not.toContain("\uFFFD");
    if (shortened !== undefined) expect(body.startsWith(text.slice(0, -1)) && text.endsWith("…")).toBe(true);
  });

  test("data that leaves no room is left out, and the app is told to fetch", () => {
    const data = { blob: "x".repeat(5000) };
    const built = buildMessage({ ...content, data, body: "é".repeat(2000) }, { token: "t" }, now);

    expect(built.shortened).toBe("data");
    expect(built.message.data).toMatchObject({ truncated: "true", type: "TRIP_APPROVED" });
    expect(built.message.data).not.toHaveProperty("blob");
    expect(bytes(built.message as never)).toBeLessThanOrEqual(MAX_MESSAGE_BYTES);
  });
});
