/** The FCM message of a push: what the app reads, and each platform's own part. */
import { createHash } from "node:crypto";
import type { Message } from "firebase-admin/messaging";

export interface MessageContent {
  readonly eventId: string;
  readonly type: string;
  readonly title: string;
  readonly body: string;
  readonly data: Readonly<Record<string, unknown>>;
  /** For the number on the app's icon. */
  readonly unread: number;
  /** After this moment it is of no use any more. */
  readonly expiresAtMs: number;
}

/** Where to: a registration token, or an installation id of Firebase. */
export type PushAddress = { readonly token: string } | { readonly fid: string };

export interface BuiltMessage {
  readonly message: Message;
  /** What had to go so that it fits; absent where nothing had. */
  readonly shortened?: "body" | "data";
}

/** FCM's limit on what an app gets. Measured on the parts for all platforms together, which is on the safe side. */
export const MAX_MESSAGE_BYTES = 4096;
const MAX_FCM_TTL_S = 2_419_200;
const RESERVED = /^(?:from|notification|message_type|collapse_key|google.*|gcm.*)?$/i;

/** Never fails: a body that is too long is cut, and data that leaves it no room is left out, with `truncated` to say so. */
export function buildMessage(content: MessageContent, address: PushAddress, nowMs = Date.now()): BuiltMessage {
  const whole = compose(content, address, nowMs);
  if (fits(whole)) return { message: whole };
  const shorter = withLessBody(content, address, nowMs);
  if (shorter !== undefined) return { message: shorter, shortened: "body" };
  const bare = { ...content, data: { truncated: "true" } };
  const bareWhole = compose(bare, address, nowMs);
  const message = fits(bareWhole) ? bareWhole : withLessBody(bare, address, nowMs);
  return { message: message ?? compose({ ...bare, body: "" }, address, nowMs), shortened: "data" };
}

/** Each value as text, since FCM takes nothing else: text as it is, anything else as JSON. */
export function dataOf({
  eventId,
  type,
  data,
}: Pick<MessageContent, "eventId" | "type" | "data">): Record<string, string> {
  const result: Record<string, string> = {};
  for (const [key, value] of Object.entries(data)) {
    const name = RESERVED.test(key) ? `data_${key}` : key;
    result[name] = typeof value === "string" ? value : (JSON.stringify(value) ?? "null");
  }
  return { click_action: "FLUTTER_NOTIFICATION_CLICK", ...result, type, notificationId: eventId };
}

function compose(content: MessageContent, address: PushAddress, nowMs: number): Message {
  const { eventId, type, title, body, unread, expiresAtMs } = content;
  const ttlS = Math.min(Math.max(Math.ceil((expiresAtMs - nowMs) / 1000), 0), MAX_FCM_TTL_S);
  // The same push twice is one on the screen, so that one repeated after a crash is not seen as two.
  const tag = tagOf(eventId);
  return {
    ...address,
    notification: { title, body },
    data: dataOf(content),
    android: { priority: "high", ttl: ttlS * 1000, collapseKey: tag, notification: { tag } },
    apns: {
      headers: {
        "apns-priority": "10",
        "apns-push-type": "alert",
        "apns-collapse-id": tag,
        "apns-expiration": `${Math.floor(nowMs / 1000) + ttlS}`,
      },
      payload: { aps: { badge: unread, sound: "default", threadId: type } },
    },
    webpush: { headers: { TTL: `${ttlS}`, Urgency: "high", Topic: tag }, notification: { tag } },
  };
}

/** Fits the narrowest of the platforms: 32 characters that are safe in a URL. */
function tagOf(eventId: string): string {
  if (/^[\w-]{1,32}$/.test(eventId)) return eventId;
  return createHash("sha256").update(eventId).digest("base64url").slice(0, 32);
}

/** With as much of the body as there is room for; undefined where there is none. */
function withLessBody(content: MessageContent, address: PushAddress, nowMs: number): Message | undefined {
  const characters = [...content.body];
  const withFirst = (n: number) => compose({ ...content, body: `${characters.slice(0, n).join("")}…` }, address, nowMs);
  let [least, most] = [0, characters.length - 1];
  while (least < most) {
    const middle = Math.ceil((least + most) / 2);
    if (fits(withFirst(middle))) least = middle;
    else most = middle - 1;
  }
  return least > 0 ? withFirst(least) : undefined;
}

function fits({ token: _token, fid: _fid, ...message }: Message & { token?: string; fid?: string }): boolean {
  return Buffer.byteLength(JSON.stringify(message)) <= MAX_MESSAGE_BYTES;
}
