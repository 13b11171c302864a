import { compilePattern } from "@carillon/protocol";

type Matcher = (name: string) => boolean;

const PATTERN = /^[A-Za-z0-9_.:*-]{1,128}$/;
const MAX_PATTERNS = 200;
const MAX_CACHED = 10_000;
const nothing: Matcher = () => false;

/**
 * Patterns of tokens and keys (`chat`, `orders.*`) as one question. Most tokens of a deployment have the same few lists, so the
 * compiled form is shared. What can't be read as a pattern grants nothing.
 */
export class Patterns {
  readonly #compiled = new Map<string, Matcher>();

  compile(value: unknown): Matcher {
    const patterns = list(value);
    if (patterns.length === 0) return nothing;
    const key = patterns.join("|");
    let matcher = this.#compiled.get(key);
    if (matcher === undefined) {
      matcher = compilePattern(key);
      if (this.#compiled.size >= MAX_CACHED) this.#compiled.clear();
      this.#compiled.set(key, matcher);
    }
    return matcher;
  }
}

/** A claim as a list: an array of strings, or text with spaces as in OAuth's `scope`. */
export function list(value: unknown): string[] {
  const items = typeof value === "string" ? value.split(/[\s,]+/) : Array.isArray(value) ? value : [];
  return items.filter((item): item is string => typeof item === "string" && PATTERN.test(item)).slice(0, MAX_PATTERNS);
}
