/**
 * What a log entry looks like on the wire, as Socket.IO packets that are ready to be written. A broadcast is encoded once for
 * each namespace and form of event, not once for each connection; payload text is spliced in as the publisher sent it.
 */
import { EVENT, isGap, type LogEntry, type Publication, type PublicationId, SCOPE_ALL } from "@carillon/protocol";
import * as ws from "ws";

/** `args`: the id trails each event. `event`: one argument, the id follows as event `offset`. */
export type IdForm = "args" | "event";

export interface FrameStyle {
  readonly namespace: string;
  /** The channel that goes without saying here: that of a refresh namespace. */
  readonly ownChannel: string | undefined;
  readonly ids: IdForm;
  /** Absent: events of Socket.IO. */
  readonly codec?: Codec;
}

/** How another protocol writes what Socket.IO writes as events. */
export interface Codec {
  publication(publication: Publication, options: EntryFrameOptions): Frame;
  gap(channels: readonly string[] | undefined, id: PublicationId): Frame;
  /** `argument` is a JSON object as text. */
  ready(argument: string, id: PublicationId): Frame;
}

export interface Packet {
  /** The Socket.IO packet as text. */
  readonly text: string;
  /** Options for Engine.IO's `write`; `wsPreEncodedFrame` saves it the framing. */
  readonly options: {
    readonly preEncoded: true;
    readonly compress: false;
    readonly wsPreEncodedFrame: readonly Buffer[];
    /** For the account of what was not sent yet. */
    readonly bytes: number;
  };
}

export type Frame = readonly Packet[];

/** In `ws` for long and used by Socket.IO itself, but not in its types. */
interface FrameBuilder {
  frame(
    data: Buffer,
    options: { fin: boolean; rsv1: boolean; opcode: number; mask: boolean; readOnly: boolean },
  ): Buffer[];
}
const { frame } = (ws as unknown as { Sender: FrameBuilder }).Sender;
const TEXT_FRAME = { fin: true, rsv1: false, opcode: 1, mask: false, readOnly: false };

/** A WebSocket text frame, in one piece: a copy made once saves every connection a second write. */
export const textFrame = (data: Buffer): readonly [Buffer] => [Buffer.concat(frame(data, TEXT_FRAME))];

/** For transports that are not Engine.IO's: bytes as they go out. */
export function rawPacket(wire: Buffer): Packet {
  return { text: "", options: { preEncoded: true, compress: false, wsPreEncodedFrame: [wire], bytes: wire.length } };
}

export function packet(namespace: string, json: string): Packet {
  const text = namespace === "/" ? `2${json}` : `2${namespace},${json}`;
  // 4 is Engine.IO's "message".
  const data = Buffer.from(`4${text}`);
  return {
    text,
    options: { preEncoded: true, compress: false, wsPreEncodedFrame: textFrame(data), bytes: data.length },
  };
}

export function readyFrame(style: FrameStyle, argument: string, id: PublicationId): Frame {
  return style.codec?.ready(argument, id) ?? eventFrame(style, EVENT.ready, argument, id);
}

/** An event whose id is a position that the client stores. */
export function eventFrame(style: FrameStyle, event: string, argument: string, id: PublicationId): Frame {
  const { namespace } = style;
  if (style.ids === "args") return [packet(namespace, `["${event}",${argument},"${id}"]`)];
  return [packet(namespace, `["${event}",${argument}]`), packet(namespace, `["${EVENT.offset}","${id}"]`)];
}

export interface EntryFrameOptions {
  /** Whole milliseconds over which clients spread the refetch. */
  readonly spreadMs?: number | undefined;
  /** In a replay: the publication's id goes into the argument, while the trailing id stays the connection's position. */
  readonly trailingId?: PublicationId;
}

export function entryFrame(style: FrameStyle, entry: LogEntry, options: EntryFrameOptions = {}): Frame {
  if (isGap(entry)) return gapFrame(style, entry.gap.channels, options.trailingId ?? entry.id, options.spreadMs);
  if (style.codec !== undefined) return style.codec.publication(entry, options);
  const event = entry.scope === undefined ? EVENT.notification : EVENT.refresh;
  return eventFrame(style, event, argumentOf(style, entry, options), options.trailingId ?? entry.id);
}

/** "These channels cannot be repaired up to there": on a refresh namespace everything there may have changed. */
export function gapFrame(
  style: FrameStyle,
  channels: readonly string[] | undefined,
  id: PublicationId,
  spreadMs?: number,
): Frame {
  if (style.codec !== undefined) return style.codec.gap(channels, id);
  if (style.ownChannel !== undefined)
    return eventFrame(style, EVENT.refresh, `{"type":"REFRESH","scope":"${SCOPE_ALL}"${spread(spreadMs)}}`, id);
  return eventFrame(style, EVENT.gap, channels === undefined ? "{}" : JSON.stringify({ channels }), id);
}

function spread(spreadMs: number | undefined): string {
  return spreadMs === undefined ? "" : `,"spreadMs":${spreadMs}`;
}

function argumentOf(style: FrameStyle, publication: Publication, { spreadMs, trailingId }: EntryFrameOptions): string {
  const id = trailingId === undefined ? "" : `,"id":"${publication.id}"`;
  if (publication.scope !== undefined) {
    const channel = publication.channel === style.ownChannel ? "" : `,"channel":"${publication.channel}"`;
    const payload = publication.payload === undefined ? "" : `,"payload":${publication.payload}`;
    return `{"type":"REFRESH","scope":"${publication.scope}"${channel}${payload}${spread(spreadMs)}${id}}`;
  }
  const body =
    publication.truncated === undefined
      ? `"payload":${publication.payload ?? "null"}`
      : `"truncated":${publication.truncated}`;
  const from = publication.from === undefined ? "" : `,"from":${JSON.stringify(publication.from)}`;
  const timestamp = new Date(publication.timestampMs).toISOString();
  return `{"channel":"${publication.channel}",${body},"timestamp":"${timestamp}"${from}${id}}`;
}
