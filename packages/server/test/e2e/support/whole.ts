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
  /** The numbers that were written for certain; default: all. Of the others nobody knows, and they may be missing. */
  readonly written?: ReadonlySet<number>;
  /** What was under way when the log was lost may be published again, behind the gap that tells of the loss. */
  readonly mayRepeatAfterGap?: boolean;
}

/**
 * Each of the numbers 0 to `count - 1` was heard once and in order; or, where some are missing, a gap was told before the next one.
 */
export function expectWholeOrTold(ear: Ear, stream: Stream, count: number, options: WholeOptions = {}): Verdict {
  const { from = 0, written, mayRepeatAfterGap = false } = options;
  const lost = (first: number, end: number) =>
    Array.from({ length: Math.max(end - first, 0) }, (_, index) => first + index).filter(
      (n) => written?.has(n) ?? true,
    );
  const expectTold = (missed: readonly number[], at: number) => {
    const around = ear.heard.slice(Math.max(at - 12, from), at + 3).map((heard) => JSON.stringify(heard).slice(0, 160));
    const what = `${ear.name} missed ${missed[0]} to ${missed.at(-1)} of ${stream.channel} and was told of no gap:\n${around.join("\n")}\n`;
    if (missed.length > 0) expect(told, what).toBe(true);
    missing += missed.length;
  };
  let next = 0;
  let told = false;
  let gaps = 0;
  let missing = 0;
  for (const [index, heard] of ear.heard.entries()) {
    if (index < from) continue;
    if (isGapOf(stream, heard)) {
      told = true;
      gaps++;
    }
    const n = heard.namespace === stream.namespace ? stream.numberOf(heard) : undefined;
    if (n === undefined || (told && mayRepeatAfterGap && n < next)) continue;
    expect(n, `${ear.name}: ${n} of ${stream.channel} came again, or after ${next - 1}`).toBeGreaterThanOrEqual(next);
    expectTold(lost(next, n), index);
    next = n + 1;
    told = false;
  }
  expectTold(lost(next, count), ear.heard.length);
  return { missing, gaps };
}

/** Whether the last of the stream, or a gap behind the last that was heard, has arrived. */
export function isThrough(ear: Ear, stream: Stream, count: number, from = 0): boolean {
  const last = ear.heard.slice(from).findLast((heard) => {
    return isGapOf(stream, heard) || (heard.namespace === stream.namespace && stream.numberOf(heard) !== undefined);
  });
  return last !== undefined && (isGapOf(stream, last) || stream.numberOf(last) === count - 1);
}
