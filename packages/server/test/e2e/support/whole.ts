/** "Whole or told": what a client may miss, and what it must have heard then. */
import { expect } from "vitest";
import type { Ear, Heard } from "./ear.ts";

export interface Stream {
  readonly namespace: string;
  /** The channel, for gaps on /channels. */
  readonly channel: string;
  /** The publication's number, from 0 on; undefined for what is none of the stream. */
  numberOf(heard: Heard): number | undefined;
}

export interface Verdict {
  readonly missing: number;
  readonly gaps: number;
}

/** Messages on a channel whose payload is a number, or an object with one in `n`. */
export function messagesOn(channel: string): Stream {
  return {
    namespace: "/channels",
    channel,
    numberOf: ({ event, argument }) => {
      if (event !== "notification" || argument.channel !== channel) return undefined;
      const n = argument.payload?.n ?? argument.payload;
      return typeof n === "number" ? n : undefined;
    },
  };
}

/** Refreshes with scopes like `N.17`. */
export function refreshesOf(channel: string, prefix: string): Stream {
  return {
    namespace: `/${channel}`,
    channel,
    numberOf: ({ event, argument }) => {
      if (event !== "refresh" || !argument.scope.startsWith(`${prefix}.`)) return undefined;
      return Number(argument.scope.slice(prefix.length + 1));
    },
  };
}

export function isGapOf({ namespace, channel }: Stream, heard: Heard): boolean {
  if (heard.namespace !== namespace) return false;
  if (heard.event === "refresh") return namespace === `/${channel}` && heard.argument.scope === "ALL";
  return heard.event === "gap" && (heard.argument.channels?.includes(channel) ?? true);
}

export interface WholeOptions {
  /** Where in what was heard to begin. */
  readonly from?: number;
  /** What was under way when the log was lost may be published again, behind the gap that tells of the loss. */
  readonly mayRepeatAfterGap?: boolean;
}

/**
 * Each of the written numbers was heard once and in order; or, where one is missing, a gap was told after it was written and before
 * a later one was heard. `written` has, by `performance.now()`, when the writing of each began that was published for certain; of
 * others nobody knows, and they may be missing.
 */
export function expectWholeOrTold(
  ear: Ear,
  stream: Stream,
  written: ReadonlyMap<number, number>,
  { from = 0, mayRepeatAfterGap = false }: WholeOptions = {},
): Verdict {
  const numbers = [...written.keys()].sort((a, b) => a - b);
  let next = 0;
  let toldAt = Number.NEGATIVE_INFINITY;
  let gaps = 0;
  let missing = 0;

  const expectTold = (end: number, index: number) => {
    for (const n of numbers.slice(lowerBound(numbers, next), lowerBound(numbers, end))) {
      missing++;
      if (toldAt > written.get(n)!) continue;
      const around = ear.heard
        .slice(Math.max(index - 12, from), index + 3)
        .map((one) => JSON.stringify(one).slice(0, 160));
      expect.fail(`${ear.name} missed ${n} of ${stream.channel} and was told of no gap:\n${around.join("\n")}`);
    }
  };
  for (const [index, heard] of ear.heard.entries()) {
    if (index < from) continue;
    if (isGapOf(stream, heard)) {
      toldAt = heard.at;
      gaps++;
    }
    const n = heard.namespace === stream.namespace ? stream.numberOf(heard) : undefined;
    if (n === undefined || (gaps > 0 && mayRepeatAfterGap && n < next)) continue;
    expect(n, `${ear.name}: ${n} of ${stream.channel} came again, or after ${next - 1}`).toBeGreaterThanOrEqual(next);
    expectTold(n, index);
    next = n + 1;
  }
  expectTold(Number.POSITIVE_INFINITY, ear.heard.length);
  return { missing, gaps };
}

/** The index of the first that is not below `value`. */
function lowerBound(sorted: readonly number[], value: number): number {
  const index = sorted.findIndex((one) => one >= value);
  return index === -1 ? sorted.length : index;
}

/** Whether the last of the stream, or a gap behind the last that was heard, has arrived. */
export function isThrough(ear: Ear, stream: Stream, last: number): boolean {
  const latest = ear.heard.findLast((heard) => {
    return isGapOf(stream, heard) || (heard.namespace === stream.namespace && stream.numberOf(heard) !== undefined);
  });
  return latest !== undefined && (isGapOf(stream, latest) || stream.numberOf(latest) === last);
}
