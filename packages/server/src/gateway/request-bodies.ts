/** What clients send with a request: parsed at its arrival, so that what waits holds nothing but what it needs. Throws `CarillonError`. */
import {
  CarillonError,
  isPlainObject,
  type JsonText,
  MAX_JSON_DEPTH,
  parseChannel,
  parseEntityRoom,
  stringifyJson,
} from "@carillon/protocol";

export type Body = Readonly<Record<string, unknown>>;

const MAX_SEEN = 1000;
const MAX_EVENT_ID_LENGTH = 128;
const MAX_TOKEN_LENGTH = 16_384;

/** The one argument of a request. `args` without the ack. */
export function bodyOf(args: readonly unknown[]): Body {
  const [body] = args;
  if (args.length !== 1 || !isPlainObject(body) || isBinary(body))
    throw new CarillonError("INVALID_REQUEST", "a request has one argument, an object");
  return body;
}

export function channelOf(body: Body, namespaces: ReadonlySet<string>): string {
  return parseChannel(safeNumber(body.channel, "INVALID_CHANNEL"), namespaces);
}

export function roomOf(body: Body): string {
  return parseEntityRoom(safeNumber(body.room, "INVALID_ROOM"));
}

export function payloadOf(body: Body): JsonText {
  if (body.payload === undefined) throw new CarillonError("INVALID_REQUEST", "payload is missing");
  assertPlain(body.payload);
  return stringifyJson(body.payload);
}

export function foregroundOf(body: Body): boolean {
  if (typeof body.foreground !== "boolean") throw new CarillonError("INVALID_REQUEST", "foreground is true or false");
  return body.foreground;
}

/** Ids of the notification service's events. */
export function seenOf(body: Body): string[] {
  const { ids } = body;
  const fits = (id: unknown) => typeof id === "string" && id.length > 0 && id.length <= MAX_EVENT_ID_LENGTH;
  if (!Array.isArray(ids) || ids.length > MAX_SEEN || !ids.every(fits)) {
    throw new CarillonError("INVALID_REQUEST", `ids is a list of at most ${MAX_SEEN} event ids`);
  }
  return ids;
}

export function tokenOf(body: Body): string {
  if (typeof body.token !== "string" || body.token.length === 0 || body.token.length > MAX_TOKEN_LENGTH) {
    throw new CarillonError("INVALID_REQUEST", "token is missing");
  }
  return body.token;
}

/** A number that a double can't hold came as another one: its room would be somebody else's. */
function safeNumber(value: unknown, code: "INVALID_CHANNEL" | "INVALID_ROOM"): unknown {
  if (typeof value === "number" && !Number.isSafeInteger(value))
    throw new CarillonError(code, "a number as a name is whole and below 2^53");
  return value;
}

/** Attachments would be carried as something else than what was sent, and deep nesting breaks whoever reads it by recursion. */
function assertPlain(payload: unknown): void {
  const waiting: { value: unknown; depth: number }[] = [{ value: payload, depth: 1 }];
  for (let item = waiting.pop(); item !== undefined; item = waiting.pop()) {
    const { value, depth } = item;
    if (typeof value !== "object" || value === null) continue;
    if (isBinary(value)) throw new CarillonError("INVALID_REQUEST", "a payload is JSON, without binary attachments");
    if (depth > MAX_JSON_DEPTH)
      throw new CarillonError("INVALID_REQUEST", `a payload nests at most ${MAX_JSON_DEPTH} levels`);
    for (const child of Object.values(value)) waiting.push({ value: child, depth: depth + 1 });
  }
}

function isBinary(value: object): boolean {
  return ArrayBuffer.isView(value) || value instanceof ArrayBuffer;
}
