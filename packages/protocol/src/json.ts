/**
 * JSON that keeps its numbers.
 *
 * A payload is carried as text from the publisher to the client's frame: parsing and printing it again would turn
 * 9007199254740993 into 9007199254740992. Numbers that a double can't hold are therefore kept as their source text
 * (`JSON.rawJSON`), which `JSON.stringify` prints as it was.
 */

declare const jsonText: unique symbol;

/** Valid, compact JSON: one line, without insignificant whitespace. */
export type JsonText = string & { readonly [jsonText]: true };

/** How deep arrays and objects may nest; a bound for every recursive reader behind us. */
export const MAX_JSON_DEPTH = 64;

interface RawJson {
  rawJSON(text: string): unknown;
  isRawJSON(value: unknown): boolean;
  parse(text: string, reviver: (key: string, value: unknown, context: { source?: string }) => unknown): unknown;
}
const raw = JSON as unknown as RawJson;

/** Parses without losing a digit. Throws `SyntaxError` for what isn't JSON and `RangeError` for what nests too deep. */
export function parseJson(text: string): unknown {
  assertDepth(text);
  const value: unknown = JSON.parse(text);
  // Most documents survive a round trip; only the others pay for the reviver.
  if (JSON.stringify(value) === text) return value;
  return raw.parse(text, (_key, item, context) =>
    typeof item === "number" && context.source !== undefined && String(item) !== context.source
      ? raw.rawJSON(context.source)
      : item,
  );
}

/** Prints a value of `parseJson`. Throws `TypeError` for what JSON cannot carry (a BigInt, a cycle, a function, `undefined`). */
export function stringifyJson(value: unknown): JsonText {
  const text = JSON.stringify(value);
  if (text === undefined) throw new TypeError(`JSON cannot carry ${typeof value}`);
  return text as JsonText;
}

/** The same document on one line, digit for digit. Throws like `parseJson`. */
export function compactJson(text: string): JsonText {
  return stringifyJson(parseJson(text));
}

/** The text itself when it is JSON, else the text as a JSON string: how a payload of unknown origin travels. */
export function jsonOrString(text: string): JsonText {
  try {
    return compactJson(text);
  } catch {
    return stringifyJson(text);
  }
}

export function isPlainObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value) && !raw.isRawJSON(value);
}

/** A number of `parseJson` as the text it was written as; `undefined` for anything else. */
export function numberText(value: unknown): string | undefined {
  if (typeof value === "number") return String(value);
  return raw.isRawJSON(value) ? (value as { rawJSON: string }).rawJSON : undefined;
}

/**
 * The same text for equal documents whatever the order of their keys, numbers as they were written: for comparing requests.
 * Recursion is bounded by `MAX_JSON_DEPTH`, since only values of `parseJson` come here.
 */
export function canonicalJson(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(canonicalJson).join(",")}]`;
  if (!isPlainObject(value)) return stringifyJson(value);
  const members = Object.keys(value)
    .sort()
    .map((key) => `${JSON.stringify(key)}:${canonicalJson(value[key])}`);
  return `{${members.join(",")}}`;
}

/** Counted on the text, before anything recursive sees it. */
function assertDepth(text: string): void {
  let depth = 0;
  let inString = false;
  for (let i = 0; i < text.length; i++) {
    const char = text.charCodeAt(i);
    if (inString) {
      if (char === 0x5c) i++;
      else if (char === 0x22) inString = false;
    } else if (char === 0x22) inString = true;
    else if (char === 0x5b || char === 0x7b) {
      if (++depth > MAX_JSON_DEPTH) throw new RangeError(`JSON nests deeper than ${MAX_JSON_DEPTH} levels`);
    } else if (char === 0x5d || char === 0x7d) depth--;
  }
}
