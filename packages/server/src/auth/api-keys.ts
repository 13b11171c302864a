import { createHash, timingSafeEqual } from "node:crypto";
import { canonicalChannel, compilePattern } from "@carillon/protocol";

export type KeyAction = "publish" | "refresh" | "notify" | "operate";

export interface ApiKey {
  readonly name: string;
  may(action: KeyAction, channel?: string): boolean;
}

interface StoredKey extends ApiKey {
  readonly hash: Buffer;
}

interface Grant {
  readonly action: KeyAction;
  readonly pattern: string;
}

const WITH_PATTERN: readonly string[] = ["publish", "refresh"];
const ALONE: readonly string[] = ["publish", "refresh", "notify", "operate"];
/** Of a key without rights of its own. */
const DEFAULT: readonly Grant[] = (["publish", "refresh", "notify"] as const).map((action) => ({
  action,
  pattern: "*",
}));

/**
 * Keys of servers. Only hashes are kept, and all of them are compared whatever matches, so that time tells nothing. Two keys may
 * have one name: that is how a secret is rotated.
 */
export class ApiKeys {
  readonly #keys: readonly StoredKey[];

  /**
   * `text` as in API_KEYS: `name:secret[:right+right]`, comma-separated. Throws `TypeError` for a right that doesn't exist and for
   * one secret in two keys. `namespaces`: `trips.refresh` names the channel `trips` in a pattern as it does everywhere.
   */
  constructor(text: string | undefined, namespaces: ReadonlySet<string> = new Set()) {
    const parts = (text ?? "").split(",").map((part) => part.trim());
    this.#keys = parts.filter((part) => part !== "").map((part) => readKey(part, namespaces));
    const hashes = new Set(this.#keys.map(({ hash }) => hash.toString("base64")));
    if (hashes.size < this.#keys.length) throw new TypeError("must not give two keys the same secret");
  }

  find(secret: string): ApiKey | undefined {
    const hash = hashOf(secret);
    let found: ApiKey | undefined;
    for (const key of this.#keys) if (timingSafeEqual(key.hash, hash)) found = key;
    return found;
  }
}

function readKey(part: string, namespaces: ReadonlySet<string>): StoredKey {
  const [name = "", secret = "", ...rest] = part.split(":");
  const rights = rest.join(":");
  const grants = (rights === "" ? DEFAULT : rights.split("+").map((right) => readRight(name, right))).map(
    ({ action, pattern }) => {
      const spelled = pattern.split("|").map((one) => canonicalChannel(one, namespaces));
      return { action, matches: compilePattern(spelled.join("|")) };
    },
  );
  return {
    name,
    hash: hashOf(secret),
    may: (action, channel) =>
      grants.some((grant) => grant.action === action && (channel === undefined || grant.matches(channel))),
  };
}

function readRight(name: string, right: string): Grant {
  const [action = "", ...rest] = right.split(":");
  const pattern = rest.join(":");
  if (!(pattern === "" ? ALONE : WITH_PATTERN).includes(action)) {
    throw new TypeError(
      `gives "${name}" a right that there is not: the rights are publish:<pattern>, refresh:<pattern>, notify, operate`,
    );
  }
  return { action: action as KeyAction, pattern: pattern || "*" };
}

function hashOf(secret: string): Buffer {
  return createHash("sha256").update(secret).digest();
}
