import { createHash, timingSafeEqual } from "node:crypto";
import { compilePattern } from "@carillon/protocol";

export type KeyAction = "publish" | "refresh" | "notify" | "operate";

export interface ApiKey {
  readonly name: string;
  may(action: KeyAction, channel?: string): boolean;
}

interface StoredKey extends ApiKey {
  readonly hash: Buffer;
}

/**
 * Keys of servers. Only hashes are kept, and all of them are compared whatever matches, so that time tells nothing. Two keys may
 * have one name: that is how a secret is rotated.
 */
export class ApiKeys {
  readonly #keys: readonly StoredKey[];

  /** `text` as in API_KEYS: `name:secret[:right+right]`, comma-separated; checked by the settings. */
  constructor(text: string | undefined) {
    const parts = (text ?? "").split(",").map((part) => part.trim());
    this.#keys = parts.filter((part) => part !== "").map(readKey);
  }

  get size(): number {
    return this.#keys.length;
  }

  find(secret: string): ApiKey | undefined {
    const hash = hashOf(secret);
    let found: ApiKey | undefined;
    for (const key of this.#keys) if (timingSafeEqual(key.hash, hash)) found = key;
    return found;
  }
}

function readKey(part: string): StoredKey {
  const [name = "", secret = "", ...rest] = part.split(":");
  const rights = rest.join(":");
  const may = rights === "" ? (action: KeyAction) => action !== "operate" : mayBy(rights.split("+"));
  return { name, hash: hashOf(secret), may };
}

function mayBy(rights: readonly string[]): ApiKey["may"] {
  const grants = rights.map((right) => {
    const [action = "", ...pattern] = right.split(":");
    return { action, matches: compilePattern(pattern.join(":") || "*") };
  });
  return (action, channel) =>
    grants.some((grant) => grant.action === action && (channel === undefined || grant.matches(channel)));
}

function hashOf(secret: string): Buffer {
  return createHash("sha256").update(secret).digest();
}
