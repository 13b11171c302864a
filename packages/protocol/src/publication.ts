import type { PublicationId } from "./ids.ts";
import type { JsonText } from "./json.ts";
import type { ChannelName, RoomName, Scope } from "./names.ts";

/** Whom a publication is for: the union of the lists, minus `except`, within those who may hear the channel. None: all of them. */
export interface Audience {
  readonly users?: readonly string[];
  readonly roles?: readonly string[];
  readonly tenants?: readonly string[];
  readonly rooms?: readonly RoomName[];
  readonly except?: {
    readonly users?: readonly string[];
    readonly rooms?: readonly RoomName[];
    readonly sockets?: readonly string[];
  };
}

/** What a publisher hands in. With a scope it is a refresh, without one a message. */
export interface Draft {
  readonly channel: ChannelName;
  readonly scope?: Scope;
  readonly payload?: JsonText;
  /** Stands in place of a payload that was too large, and says what is missing. */
  readonly truncated?: JsonText;
  readonly to?: Audience;
  /** The `sub` of the client that published it; set by the server only. */
  readonly from?: string;
}

export interface Publication extends Draft {
  readonly id: PublicationId;
  /** Milliseconds since 1970 by the log's clock; for people, never for order. */
  readonly timestampMs: number;
}

/** An entry of the log that tells all who hear these channels (none named: every channel) that something could not be repaired. */
export interface GapDraft {
  readonly gap: { readonly channels?: readonly ChannelName[] };
}

export interface GapEntry extends GapDraft {
  readonly id: PublicationId;
  readonly timestampMs: number;
}

export type LogEntry = Publication | GapEntry;

export function isGap<T extends Draft | GapDraft>(entry: T): entry is Extract<T, GapDraft> {
  return "gap" in entry;
}
