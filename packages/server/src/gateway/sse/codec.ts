/** Events of a server-sent stream: the JSON of plain WebSockets as data, and the id that a browser comes back with. */
import { EVENT, type PublicationId } from "@carillon/protocol";
import { type Codec, type Frame, rawPacket } from "../frames.ts";
import { gapText, publicationText, readyText } from "../plain/messages.ts";

export const sseCodec: Codec = {
  publication: (publication, options) =>
    event(
      publication.scope === undefined ? EVENT.notification : EVENT.refresh,
      publicationText(publication, options),
      options.trailingId ?? publication.id,
    ),
  gap: (channels, id) => event(EVENT.gap, gapText(channels, id), id),
  ready: (argument, id) => event(EVENT.ready, readyText(argument, id), id),
};

/** Before anything else: how long a client waits before it comes back. */
export const retryFrame = (ms: number): Frame => block(`retry: ${ms}\n`);

/** Without data it is no event, but browsers take note of the id. */
export const heartbeatFrame = (id: PublicationId | undefined): Frame =>
  block(id === undefined ? ":\n" : `:\nid: ${id}\n`);

/** JSON text has no line breaks. */
function event(name: string, text: string, id: PublicationId): Frame {
  return block(`event: ${name}\nid: ${id}\ndata: ${text}\n`);
}

function block(lines: string): Frame {
  return [rawPacket(Buffer.from(`${lines}\n`))];
}
