/**
 * What a message on a Redis channel or a NOTIFY means: publications, or nothing that we know. Pure; whoever calls counts and
 * logs what came back as `undefined`.
 */
import {
  audienceSchema,
  canonicalChannel,
  type Draft,
  isChannelName,
  isPlainObject,
  isScope,
  type JsonText,
  jsonOrString,
  numberText,
  parseJson,
  SCOPE_ALL,
  stringifyJson,
} from "@carillon/protocol";

export interface EventRoute {
  /** Of the Redis channel, with `*`. */
  readonly matches: (channel: string) => boolean;
  readonly namespaces: readonly string[];
}

export interface FormOptions {
  readonly namespaces: ReadonlySet<string>;
  readonly maxPayloadBytes: number;
}

/** A message on `refresh.<ns>` or `<ns>.refresh`: an object with a scope, a scope as text, either within a NestJS envelope. */
export function refreshFrom(channel: string, text: string, options: FormOptions): Draft | undefined {
  return refreshOf(channel, withoutEnvelope(decode(text)), options);
}

/** A domain event: a refresh for each namespace it is routed to, with its scope, else its type, else its name in capitals. */
export function refreshesFromEvent(
  name: string,
  text: string,
  namespaces: readonly string[],
  options: FormOptions,
): Draft[] | undefined {
  const value = withoutEnvelope(decode(text));
  const scope = eventScope(name, value);
  const audience = isPlainObject(value) && hasAudience(value) ? audienceOf(value.to) : {};
  if (scope === undefined || audience === undefined) return undefined;
  return namespaces
    .filter((namespace) => options.namespaces.has(namespace))
    .map((channel) => ({ channel, scope, ...audience }));
}

/** A NOTIFY, also one that came through the outbox: on a refresh channel as in Redis, elsewhere an object with a scope is a refresh and all else a message. */
export function publicationFromNotify(channel: string, text: string, options: FormOptions): Draft | undefined {
  if (!isChannelName(channel)) return undefined;
  const canonical = canonicalChannel(channel, options.namespaces);
  if (canonical !== channel) return refreshFrom(canonical, text, options);
  const value = decode(text);
  if (isPlainObject(value) && isScope(value.scope)) return refreshOf(channel, value, options);
  return { channel, ...bounded(jsonOrString(text), options) };
}

/** The payload, or what stands in its place when it is too large. */
export function bounded(
  payload: JsonText,
  { maxPayloadBytes }: Pick<FormOptions, "maxPayloadBytes">,
): Pick<Draft, "payload" | "truncated"> {
  const bytes = Buffer.byteLength(payload);
  return bytes <= maxPayloadBytes ? { payload } : { truncated: stringifyJson({ bytes }) };
}

function refreshOf(channel: string, value: unknown, options: FormOptions): Draft | undefined {
  if (value === "" || value === undefined) return { channel, scope: SCOPE_ALL };
  if (isScope(value)) return { channel, scope: value };
  if (!isPlainObject(value)) return undefined;
  if (Object.keys(value).length > 0 && !Object.hasOwn(value, "scope") && value.type !== "REFRESH") return undefined;
  const scope = value.scope === undefined || value.scope === "" ? SCOPE_ALL : value.scope;
  if (!isScope(scope)) return undefined;
  const audience = audienceOf(value.to);
  if (audience === undefined) return undefined;
  const payload = value.payload === undefined ? undefined : bounded(stringifyJson(value.payload), options).payload;
  return { channel, scope, ...audience, ...(payload !== undefined && { payload }) };
}

/** `undefined` for one that can't be read, which must not turn into "everybody". */
function audienceOf(to: unknown): Pick<Draft, "to"> | undefined {
  if (to === undefined || to === null) return {};
  const { success, data } = audienceSchema.safeParse(to);
  return success ? { to: data } : undefined;
}

/**
 * The `to` of an event that has no scope may be a word of its own domain (`{"from":"PENDING","to":"APPROVED"}`): there recipients are an
 * object that names a list of them.
 */
function hasAudience({ scope, to }: Readonly<Record<string, unknown>>): boolean {
  if (scope !== undefined && scope !== null) return true;
  return isPlainObject(to) && Object.keys(audienceSchema.in.shape).some((list) => Object.hasOwn(to, list));
}

function eventScope(name: string, value: unknown): string | undefined {
  if (isScope(value)) return value;
  if (isPlainObject(value)) {
    if (value.scope !== undefined && value.scope !== null && value.scope !== "")
      return isScope(value.scope) ? value.scope : undefined;
    if (isScope(value.type)) return value.type;
  }
  const derived = name
    .toUpperCase()
    .replace(/[^A-Z0-9]+/g, "_")
    .slice(0, 128);
  return isScope(derived) ? derived : undefined;
}

/** JSON where it is JSON, else the text. A number or a boolean is a scope as text too (`42`). */
function decode(text: string): unknown {
  const trimmed = text.trim();
  if (trimmed === "") return "";
  try {
    const value = parseJson(trimmed);
    return scalarText(value) === undefined ? value : trimmed;
  } catch {
    return trimmed;
  }
}

/** NestJS' `{pattern, data}`, where `data` is left out when it is `undefined`; its pattern may be any JSON. */
function withoutEnvelope(value: unknown): unknown {
  if (!isPlainObject(value) || !Object.hasOwn(value, "pattern")) return value;
  const keys = Object.keys(value);
  const isEnvelope = keys.includes("data")
    ? !keys.includes("scope") && !keys.includes("type")
    : keys.every((key) => key === "pattern" || key === "id");
  if (!isEnvelope) return value;
  const { data } = value;
  if (typeof data === "string") return decode(data);
  return data === null ? "" : (scalarText(data) ?? data);
}

function scalarText(value: unknown): string | undefined {
  return typeof value === "boolean" ? String(value) : numberText(value);
}
