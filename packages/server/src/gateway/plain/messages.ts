/** What plain clients are sent, as JSON text; payloads are spliced in as the publisher sent them. */
import type { Publication, PublicationId } from "@carillon/protocol";
import type { EntryFrameOptions } from "../frames.ts";

/** In a replay `position` is the id to come back with, as `id` is older than what the connection heard already. */
export function publicationText(publication: Publication, { spreadMs, trailingId }: EntryFrameOptions): string {
  const { id, channel, scope, payload } = publication;
  const position = trailingId === undefined ? "" : `,"position":"${trailingId}"`;
  if (scope !== undefined) {
    const more = `${payload === undefined ? "" : `,"payload":${payload}`}${spreadMs === undefined ? "" : `,"spreadMs":${spreadMs}`}`;
    return `{"type":"REFRESH","channel":"${channel}","scope":"${scope}","id":"${id}"${more}${position}}`;
  }
  const { truncated, from, timestampMs } = publication;
  const body = truncated === undefined ? `"payload":${payload ?? "null"}` : `"truncated":${truncated}`;
  const sender = from === undefined ? "" : `,"from":${JSON.stringify(from)}`;
  const timestamp = new Date(timestampMs).toISOString();
  return `{"type":"notification","channel":"${channel}",${body},"id":"${id}","timestamp":"${timestamp}"${sender}${position}}`;
}

export function gapText(channels: readonly string[] | undefined, id: PublicationId): string {
  return JSON.stringify({ type: "gap", ...(channels !== undefined && { channels }), id });
}

/** `argument` is a JSON object as text, with something in it. */
export function readyText(argument: string, id: PublicationId): string {
  return `{"type":"ready",${argument.slice(1, -1)},"id":"${id}"}`;
}
