/** Frames of plain WebSockets: one JSON object each. */
import type { Codec, Frame } from "../frames.ts";
import { rawPacket, textFrame } from "../frames.ts";
import { gapText, publicationText, readyText } from "./messages.ts";

export const plainCodec: Codec = {
  publication: (publication, options) => jsonFrame(publicationText(publication, options)),
  gap: (channels, id) => jsonFrame(gapText(channels, id)),
  ready: (argument, id) => jsonFrame(readyText(argument, id)),
};

export function jsonFrame(text: string): Frame {
  return [rawPacket(textFrame(Buffer.from(text))[0])];
}
