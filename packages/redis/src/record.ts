/**
 * How an entry travels and is kept: a header as JSON, a tab, and the payload's text as it is.
 *
 * A node reads only the header; a payload is never parsed or printed again, so that it keeps its digits and costs nothing. Neither
 * part holds a raw tab or line break, because compact JSON escapes them inside strings and has none outside.
 */
import type { Broadcast } from "@carillon/core";
import {
  type Audience,
  type ChannelName,
  type Draft,
  formatId,
  type GapDraft,
  isChannelName,
  isGap,
  isPlainObject,
  type JsonText,
  type LogEntry,
  type Position,
  readJson,
} from "@carillon/protocol";

interface Header {
  /** Channel. */
  readonly c?: ChannelName;
  /** Scope. */
  readonly s?: string;
  /** Audience, in its own words. */
  readonly t?: Audience;
  /** From. */
  readonly f?: string;
  /** The JSON that stands in place of a payload, as text. */
  readonly x?: string;
  /** A gap on these channels; on all of them where null. */
  readonly g?: readonly ChannelName[] | null;
}

export function encodeRecord(draft: Draft | GapDraft): string {
  if (isGap(draft)) return JSON.stringify({ g: draft.gap.channels ?? null } satisfies Header);
  // `undefined` leaves a key out.
  const header = JSON.stringify({ c: draft.channel, s: draft.scope, t: draft.to, f: draft.from, x: draft.truncated });
  if (draft.payload === undefined) return header;
  // Would be read as two records, which no caller can repair.
  if (/[\n\t]/.test(draft.payload)) throw new TypeError("a payload is compact JSON: it has no raw tab or line break");
  return `${header}\t${draft.payload}`;
}

/** What can't be read becomes a gap on every channel: the entry exists, and nobody may believe that it was nothing. */
export function decodeRecord(text: string, position: Position, timestampMs: number): LogEntry {
  const id = formatId(position);
  const tab = text.indexOf("\t");
  const header = parseHeader(tab < 0 ? text : text.slice(0, tab));
  if (header === undefined) return { id, timestampMs, gap: {} };
  if (header.g !== undefined) return { id, timestampMs, gap: header.g === null ? {} : { channels: header.g } };
  return {
    id,
    timestampMs,
    channel: header.c ?? "",
    ...(header.s !== undefined && { scope: header.s }),
    ...(tab >= 0 && { payload: text.slice(tab + 1) as JsonText }),
    ...(header.x !== undefined && { truncated: header.x as JsonText }),
    ...(header.t !== undefined && { to: header.t }),
    ...(header.f !== undefined && { from: header.f }),
  };
}

/** First byte of a broadcast and of a heartbeat; MessagePack of the Socket.IO adapter never begins with either. */
export const BROADCAST = 0x43;
export const HEARTBEAT = 0x48;

/** `C<epoch>-<first n> <time in ms>`, then each record on a line of its own. `undefined` for anything else. */
export function decodeBroadcast(message: string): Broadcast | undefined {
  const lines = message.split("\n");
  const match = /^C(\d{1,15})-(\d{1,15}) (\d{1,15})$/.exec(lines[0] ?? "");
  if (match === null || lines.length < 2) return undefined;
  const [epoch, first, timestampMs] = [Number(match[1]), Number(match[2]), Number(match[3])];
  const entries = lines.slice(1).map((line, index) => decodeRecord(line, { epoch, n: first + index }, timestampMs));
  return { epoch, first, entries };
}

function parseHeader(text: string): Header | undefined {
  const header = readJson(text);
  if (!isPlainObject(header)) return undefined;
  const { c, s, t, f, x, g } = header;
  if (g !== undefined) return g === null || (Array.isArray(g) && g.every(isChannelName)) ? { g } : undefined;
  const texts = [s, f, x].every((value) => value === undefined || typeof value === "string");
  if (!isChannelName(c) || !texts || (t !== undefined && !isPlainObject(t))) return undefined;
  return header as Header;
}
