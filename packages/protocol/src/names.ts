/**
 * The one place that decides what is a name. Every ingress, gateway and route asks here, so that what one side accepts no
 * other side refuses. Rules: CONTRACT section 1, repeated in `docs/names.md`.
 */
import { CarillonError, type ErrorCode } from "./errors.ts";

export type ChannelName = string;
export type RoomName = string;
export type Scope = string;

export const CHANNEL_PATTERN = "^[A-Za-z0-9_][A-Za-z0-9_.:\\-]{0,62}$";
export const ROOM_PATTERN = "^[A-Za-z0-9_][A-Za-z0-9_.:\\-]{0,127}$";
export const SCOPE_PATTERN = "^[A-Za-z0-9_.:\\-]{1,128}$";

/** "Everything here may have changed." */
export const SCOPE_ALL = "ALL";

export const MAX_ID_BYTES = 128;

const CHANNEL = new RegExp(CHANNEL_PATTERN);
const ROOM = new RegExp(ROOM_PATTERN);
const SCOPE = new RegExp(SCOPE_PATTERN);
const BAD_CHARACTER = /[^A-Za-z0-9_.:-]/u;
// biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what is refused
const CONTROL = /[\u0000-\u001f\u007f-\u009f]/;

/** Rooms that mean a user, a role or a tenant; nobody can ask to be let in. */
const RESERVED_ROOM = /^(user|role|tenant):/;

export function isChannelName(value: unknown): value is ChannelName {
  return typeof value === "string" && CHANNEL.test(value);
}

/** A channel by any spelling becomes its name: `refresh.trips` and `trips.refresh` are `trips` where that is a refresh namespace. */
export function parseChannel(value: unknown, namespaces: ReadonlySet<string>): ChannelName {
  const name = typeof value === "number" ? String(value) : value;
  if (!isChannelName(name)) throw nameError("INVALID_CHANNEL", "channel name", name, 63);
  return canonicalChannel(name, namespaces);
}

export function canonicalChannel(name: ChannelName, namespaces: ReadonlySet<string>): ChannelName {
  if (name.startsWith("refresh.") && namespaces.has(name.slice(8))) return name.slice(8);
  if (name.endsWith(".refresh") && namespaces.has(name.slice(0, -8))) return name.slice(0, -8);
  return name;
}

/** An entity room that a client may ask to join. */
export function parseEntityRoom(value: unknown): RoomName {
  const name = typeof value === "number" ? String(value) : value;
  if (typeof name !== "string" || !ROOM.test(name)) throw nameError("INVALID_ROOM", "room name", name, 128);
  if (RESERVED_ROOM.test(name)) {
    throw new CarillonError("FORBIDDEN", `"${name}": rooms of users, roles and tenants cannot be joined`);
  }
  return name;
}

export function parseScope(value: unknown): Scope {
  if (typeof value !== "string" || !SCOPE.test(value)) throw nameError("INVALID_SCOPE", "scope", value, 128);
  return value;
}

export function isScope(value: unknown): value is Scope {
  return typeof value === "string" && SCOPE.test(value);
}

/** A user, role or tenant id; a number becomes its decimal string. */
export function parsePrincipalId(value: unknown): string {
  const id = typeof value === "number" && Number.isSafeInteger(value) ? String(value) : value;
  if (!isPrincipalId(id)) {
    throw new CarillonError("INVALID_ID", `an id is 1 to ${MAX_ID_BYTES} bytes of text without control characters`);
  }
  return id;
}

export function isPrincipalId(value: unknown): value is string {
  return (
    typeof value === "string" &&
    value.length > 0 &&
    value.length <= MAX_ID_BYTES &&
    Buffer.byteLength(value) <= MAX_ID_BYTES &&
    value.isWellFormed() &&
    !CONTROL.test(value)
  );
}

/** A pattern of settings and tokens: `*` stands for any run of characters, all others for themselves; `|` parts alternatives. */
export function compilePattern(pattern: string): (name: string) => boolean {
  if (pattern === "*") return () => true;
  const source = pattern
    .split("|")
    .map((part) => part.split("*").map(RegExp.escape).join(".*"))
    .join("|");
  const regex = new RegExp(`^(?:${source})$`, "s");
  return (name) => regex.test(name);
}

function nameError(code: ErrorCode, what: string, value: unknown, maxBytes: number): CarillonError {
  if (typeof value !== "string") return new CarillonError(code, `a ${what} is text`);
  if (value.length === 0) return new CarillonError(code, `a ${what} has at least one character`);
  const bad = BAD_CHARACTER.exec(value);
  if (bad !== null) {
    return new CarillonError(code, `a ${what} has only A-Z a-z 0-9 _ . : - ; character ${bad.index + 1} is ${JSON.stringify(bad[0])}`);
  }
  if (value.length > maxBytes) return new CarillonError(code, `a ${what} has at most ${maxBytes} bytes; this one has ${value.length}`);
  return new CarillonError(code, `a ${what} does not start with ${JSON.stringify(value[0])}`);
}
