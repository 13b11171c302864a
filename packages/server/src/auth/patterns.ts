import { canonicalChannel, compilePattern, isIdentityRoom } from "@carillon/protocol";
import type { Grants } from "./principal.ts";

type Matcher = (name: string) => boolean;

const PATTERN = /^[A-Za-z0-9_.:*-]{1,128}$/;
const MAX_PATTERNS = 200;
const MAX_CACHED = 10_000;
const nothing: Matcher = () => false;

/**
 * Patterns of tokens (`chat`, `orders.*`) as one question. Most tokens of a deployment have the same few lists, so the compiled form
 * is shared. What can't be read as a pattern grants nothing.
 */
export class Patterns {
  readonly #namespaces: ReadonlySet<string>;
  readonly #compiled = new Map<string, Matcher>();

  /** `namespaces`: `trips.refresh` names the channel `trips` in a pattern as it does everywhere. */
  constructor(namespaces: ReadonlySet<string> = new Set()) {
    this.#namespaces = namespaces;
  }

  /** The claims `channels`, `publish` and `rooms`; an absent one grants nothing. */
  grants(claims: Readonly<Record<string, unknown>>): Grants {
    const channelNames = (value: unknown) => list(value).map((name) => canonicalChannel(name, this.#namespaces));
    const lists = {
      channels: channelNames(claims.channels),
      publish: channelNames(claims.publish),
      rooms: list(claims.rooms),
    };
    const rooms = this.#compile(lists.rooms);
    return {
      channels: this.#compile(lists.channels),
      publish: this.#compile(lists.publish),
      // Identities are nobody's to join, whatever a pattern like `*` says.
      rooms: (room) => !isIdentityRoom(room) && rooms(room),
      lists,
    };
  }

  #compile(patterns: readonly string[]): Matcher {
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
function list(value: unknown): string[] {
  const items = typeof value === "string" ? value.split(/[\s,]+/) : Array.isArray(value) ? value : [];
  return items.filter((item): item is string => typeof item === "string" && PATTERN.test(item)).slice(0, MAX_PATTERNS);
}
