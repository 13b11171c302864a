/** What a run leaves behind for the checker: what was published, and what each client heard. Times are ms since 1970. */

/** Who is meant, where not everybody on the channel. */
export interface Audience {
  readonly users?: readonly string[];
  readonly rooms?: readonly string[];
}

export interface Publication {
  /** `<lane>.<n>`, unique on its channel. A lane sends one after another, so its numbers are heard in their order. */
  readonly tag: string;
  readonly channel: string;
  /** Set where many refreshes are equal and the tag is not on the wire: then only the latest has to be heard. */
  readonly equalScope?: string;
  readonly to?: Audience;
  /** Whether its ingress promises anything once it said yes: a 202, a commit. PUBLISH and NOTIFY do not. */
  readonly promised: boolean;
  /** `unknown`: no answer came; it may be in the log. */
  outcome: "accepted" | "refused" | "unknown";
  /** Why it was not accepted, or is not known to be. */
  error?: string;
  /** Where the ingress tells it; the checker learns the others from those who heard them. */
  id?: string;
  /** The attempt that was answered, or the last one. */
  sentAt: number;
  answeredAt?: number;
}

export type HistoryEvent =
  | { readonly kind: "up"; readonly at: number }
  | { readonly kind: "down"; readonly at: number; readonly reason: string }
  | {
      readonly kind: "ready";
      readonly at: number;
      readonly id: string;
      readonly recovered: boolean;
      readonly channels: readonly string[];
      readonly rooms: readonly string[];
    }
  | { readonly kind: "subscribed"; readonly at: number; readonly channel: string; readonly id?: string }
  | { readonly kind: "joined"; readonly at: number; readonly room: string }
  /** Without `id` (the stock stack): the client knows that it was away, no more. */
  | { readonly kind: "gap"; readonly at: number; readonly id?: string; readonly channels?: readonly string[] }
  | HeardEvent;

export interface HeardEvent {
  readonly kind: "heard";
  readonly at: number;
  readonly channel: string;
  readonly tag?: string;
  readonly equalScope?: string;
  /** Its own; `undefined` on the stock stack. */
  id?: string;
  /** Part of a replay by `since`: older than what was heard, so outside of the order. */
  readonly replayed?: boolean;
}

export interface ClientHistory {
  readonly client: string;
  readonly user: string;
  readonly channels: readonly string[];
  /** Entity rooms, in its only channel. */
  readonly rooms: readonly string[];
  /** From when on it was in all its channels and rooms: what was sent later is owed to it. */
  readonly owedFrom: number;
  readonly events: readonly HistoryEvent[];
}
