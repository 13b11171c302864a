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
}
const raw = JSON as unknown as RawJson;

/** Begins the strings that stand for numbers for a moment; nobody outside can know it. */
const MARKER = `${globalThis.crypto.randomUUID()}:`;

/**
 * Parses without losing a digit. Throws `SyntaxError` for what isn't JSON and `RangeError` for what nests too deep.
 *
 * Not by a reviver, which takes many times as long: a few megabytes of `[1.0, 2.0, …]` would stop the event loop for seconds.
 */
export function parseJson(text: string): unknown {
  const spots = lossyNumbers(text);
  const value: unknown = JSON.parse(text);
  if (spots.length === 0) return value;
  const pieces: string[] = [];
  let from = 0;
  for (const [start, end] of spots) {
    pieces.push(text.slice(from, start), '"', MARKER, text.slice(start, end), '"');
    from = end;
  }
  pieces.push(text.slice(from));
  return restore(JSON.parse(pieces.join("")));
}

/** `undefined` for text that is no JSON. For what other processes stored or answered: numbers become doubles. */
export function readJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

/**
 * Prints a value of `parseJson`, or one that another parser made without our bound. Throws `TypeError` for what JSON cannot carry
 * (a BigInt, a cycle, a function, `undefined`) and `RangeError` for what nests too deep.
 */
export function stringifyJson(value: unknown): JsonText {
  const text = JSON.stringify(value);
  if (text === undefined) throw new TypeError(`JSON cannot carry ${typeof value}`);
  assertDepth(text);
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
  if (text.length > MAX_JSON_DEPTH) walk(text, () => {});
}

type Span = readonly [start: number, end: number];

/** The numbers that would not come back from a double as they are written. Of a text that isn't JSON it means nothing. */
function lossyNumbers(text: string): Span[] {
  const spots: Span[] = [];
  walk(text, (start, end) => {
    if (!survives(text, start, end)) spots.push([start, end]);
  });
  return spots;
}

/** Visits the numbers outside strings, and throws where arrays and objects nest too deep. */
function walk(text: string, number: (start: number, end: number) => void): void {
  let depth = 0;
  for (let i = 0; i < text.length; i++) {
    const char = text.charCodeAt(i);
    if (char === 0x22) i = endOfString(text, i + 1);
    else if (char === 0x5b || char === 0x7b) {
      if (++depth > MAX_JSON_DEPTH) throw new RangeError(`JSON nests deeper than ${MAX_JSON_DEPTH} levels`);
    } else if (char === 0x5d || char === 0x7d) depth--;
    else if (char === 0x2d || isDigit(char)) {
      const end = endOfNumber(text, i + 1);
      number(i, end);
      i = end - 1;
    }
  }
}

/** The place of the closing quote. */
function endOfString(text: string, from: number): number {
  for (let i = from; i < text.length; i++) {
    const char = text.charCodeAt(i);
    if (char === 0x5c) i++;
    else if (char === 0x22) return i;
  }
  return text.length;
}

function endOfNumber(text: string, from: number): number {
  let i = from;
  for (; i < text.length; i++) {
    const char = text.charCodeAt(i);
    const part = isDigit(char) || char === 0x2e || char === 0x65 || char === 0x45 || char === 0x2b || char === 0x2d;
    if (!part) break;
  }
  return i;
}

function survives(text: string, start: number, end: number): boolean {
  // Up to 15 digits always do; a sign or a fraction needs a closer look, and is rarer.
  if (end - start <= 15 && allDigits(text, start, end)) return true;
  const token = text.slice(start, end);
  return String(Number(token)) === token;
}

function allDigits(text: string, start: number, end: number): boolean {
  for (let i = start; i < end; i++) if (!isDigit(text.charCodeAt(i))) return false;
  return true;
}

function isDigit(char: number): boolean {
  return char >= 0x30 && char <= 0x39;
}

/** Puts the numbers back in place of their strings. Its recursion is bounded by `walk`. */
function restore(value: unknown): unknown {
  if (typeof value === "string") return value.startsWith(MARKER) ? raw.rawJSON(value.slice(MARKER.length)) : value;
  if (typeof value !== "object" || value === null) return value;
  if (Array.isArray(value)) {
    for (let i = 0; i < value.length; i++) value[i] = restore(value[i]);
    return value;
  }
  const members = value as Record<string, unknown>;
  // An own `__proto__` of a parsed document is a property like any other, so that this sets no prototype.
  for (const key of Object.keys(members)) members[key] = restore(members[key]);
  return value;
}
