import { ANSWERS, type FcmAnswer, failure, violation } from "./answers.ts";

export interface FcmMessage {
  readonly token?: string;
  readonly fid?: string;
  readonly notification?: { readonly title?: string; readonly body?: string };
  readonly data?: Readonly<Record<string, string>>;
  // biome-ignore lint/suspicious/noExplicitAny: a test says what it expects
  readonly [part: string]: any;
}

const MAX_BYTES = 4096;
const RESERVED = /^(?:from|message_type|google\..*|gcm\..*)$/;

/** What the real service finds wrong with a message, whoever it is for; undefined when nothing is. */
export function faultOf(body: unknown): FcmAnswer | undefined {
  const message = isObject(body) ? body.message : undefined;
  if (!isObject(message)) return invalid("message", "Message is required");
  const targets = ["token", "fid", "topic", "condition"].filter((target) => typeof message[target] === "string");
  if (targets.length !== 1) return invalid("message", "Exactly one of token, fid, topic or condition must be set");
  const { data = {}, notification = {} } = message;
  if (!isObject(data) || !isObject(notification)) return invalid("message", "Not an object");
  for (const [key, value] of Object.entries(data)) {
    if (typeof value !== "string") return ANSWERS["bad-payload"];
    if (key === "" || RESERVED.test(key)) return invalid("message.data", `Invalid data payload key: ${key}`);
  }
  if (Object.values(notification).some((text) => typeof text !== "string")) {
    return invalid("message.notification", "Not text");
  }
  if (bytesOf({ data, notification }) > MAX_BYTES || bytesOf(apnsPayload(message)) > MAX_BYTES)
    return ANSWERS["too-big"];
  const { ttl } = isObject(message.android) ? message.android : {};
  if (ttl !== undefined && !/^\d+(\.\d+)?s$/.test(String(ttl)))
    return invalid("message.android.ttl", "Illegal duration");
  return undefined;
}

function apnsPayload(message: Record<string, unknown>): unknown {
  return isObject(message.apns) ? message.apns.payload : undefined;
}

function invalid(field: string, description: string): FcmAnswer {
  const text = "Request contains an invalid argument.";
  return failure(400, "INVALID_ARGUMENT", text, "INVALID_ARGUMENT", [violation(field, description)]);
}

function bytesOf(value: unknown): number {
  return Buffer.byteLength(JSON.stringify(value ?? ""));
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
