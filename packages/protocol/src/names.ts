/**
 * The one place that decides what is a name. Every ingress, gateway and route asks here, so that what one side accepts no
 * other side refuses. The rules are those of `docs/names.md`.
 */
import { CarillonError, type ErrorCode } from "./errors.ts";
import { numberText } from "./json.ts";

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
const WHOLE_NUMBER = /^(?:0|-?[1-9]\d{0,127})$/;
const BAD_CHARACTER = /[^A-Za-z0-9_.:-]/u;
// biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what is refused
const CONTROL = /[\u0000-\u001f\u007f-\u009f]/;

export function isChannelName(value: unknown): value is ChannelName {
  return typeof value === "string" && CHANNEL.test(value);
}

/** A channel by any spelling becomes its name: `refresh.trips` and `trips.refresh` are `trips` where that is a refresh namespace. */
export function parseChannel(value: unknown, namespaces: ReadonlySet<string>): ChannelName {
  const name = nameText(value);
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
  const name = nameText(value);
  if (typeof name !== "string" || !ROOM.test(name)) throw nameError("INVALID_ROOM", "room name", name, 128);
  if (isIdentityRoom(name)) {
    throw new CarillonError("FORBIDDEN", `"${name}": rooms of users, roles and tenants cannot be joined`);
  }
  return name;
}

/** A room that means a user, a role or a tenant (`user:42`): whoever that is is in it, and nobody can ask to be let in. */
export function isIdentityRoom(room: RoomName): boolean {
  return room.startsWith("user:") || room.startsWith("role:") || room.startsWith("tenant:");
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
  const id = nameText(value);
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

/**
 * Text as it is, and a whole number as its digits. A double beyond 2^53 may have lost some on its way here and would name
 * somebody else; a number that `parseJson` kept has them all.
 */
function nameText(value: unknown): unknown {
  if (typeof value === "number") return Number.isSafeInteger(value) ? String(value) : value;
  const digits = numberText(value);
  return digits !== undefined && isWholeNumber(digits) ? digits : value;
}

export function isWholeNumber(digits: string): boolean {
  return WHOLE_NUMBER.test(digits);
}

/** A pattern of settings and tokens: `*` stands for any run of characters, all others for themselves; `|` parts alternatives. */
export function compilePattern(pattern: string): (name: string) => boolean {
  if (pattern === "*") return () => true;
  const alternatives = pattern.split("|").map(compileGlob);
  return (name) => alternatives.some((matches) => matches(name));
}

/** By searching for the parts in turn: a regular expression of many `.*` can take for ever over one name. */
function compileGlob(glob: string): (name: string) => boolean {
  const [head = "", ...parts] = glob.split("*");
  const tail = parts.pop();
  if (tail === undefined) return (name) => name === head;
  return (name) => {
    if (name.length < head.length + tail.length || !name.startsWith(head) || !name.endsWith(tail)) return false;
    const end = name.length - tail.length;
    let at = head.length;
    for (const part of parts) {
      const found = name.indexOf(part, at);
      if (found < 0 || found + part.length > end) return false;
      at = found + part.length;
    }
    return true;
  };
}

function nameError(code: ErrorCode, what: string, value: unknown, maxBytes: number): CarillonError {
  if (typeof value !== "string") return new CarillonError(code, `a ${what} is text`);
  if (value.length === 0) return new CarillonError(code, `a ${what} has at least one character`);
  const bad = BAD_CHARACTER.exec(value);
  if (bad !== null) {
    return new CarillonError(
      code,
      `a ${what} has only A-Z a-z 0-9 _ . : - ; character ${bad.index + 1} is ${JSON.stringify(bad[0])}`,
    );
  }
  if (value.length > maxBytes)
    return new CarillonError(code, `a ${what} has at most ${maxBytes} bytes; this one has ${value.length}`);
  return new CarillonError(code, `a ${what} does not start with ${JSON.stringify(value[0])}`);
}
