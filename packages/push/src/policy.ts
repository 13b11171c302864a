/** For which types of notification a device in the foreground, or its user elsewhere, saves a push. */
import { compilePattern } from "@carillon/protocol";

export const PUSH_WHEN = ["always", "device-not-foreground", "user-not-foreground"] as const;
export type PushWhen = (typeof PUSH_WHEN)[number];

export interface PushRule {
  /** Of types; `*` stands for any run of characters. */
  readonly pattern: string;
  readonly when: PushWhen;
}

/** The first rule that matches decides. */
export function pushPolicy(rules: readonly PushRule[]): (type: string) => PushWhen {
  const compiled = rules.map(({ pattern, when }) => ({ matches: compilePattern(pattern), when }));
  return (type) => compiled.find(({ matches }) => matches(type))?.when ?? "device-not-foreground";
}

export interface Facts {
  /** The entry was read or archived. */
  readonly read: boolean;
  /** This device reported it as seen, in the foreground. */
  readonly seenHere: boolean;
  /** Any of the user's did. */
  readonly seenAnywhere: boolean;
}

export type Verdict = "push" | "read" | "seen_here" | "seen_elsewhere";

/**
 * A device that only looks connected does not count, since a suspended phone looks so for most of a minute: what counts is that it said
 * so about this very event.
 */
export function verdict(when: PushWhen, { read, seenHere, seenAnywhere }: Facts): Verdict {
  if (read) return "read";
  if (when === "always") return "push";
  if (seenHere) return "seen_here";
  return when === "user-not-foreground" && seenAnywhere ? "seen_elsewhere" : "push";
}
