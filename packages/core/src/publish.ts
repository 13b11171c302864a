/** How every ingress speaks to the core. */
import type { Draft, GapDraft, PublicationId } from "@carillon/protocol";
import type { AppendRequest, AppendResult } from "./ports.ts";

export type Ingress = "rest" | "redis" | "postgres" | "clients";

export interface PublishOptions {
  readonly ingress: Ingress;
  /** Idempotency of the caller's request; the same key with another fingerprint throws `IDEMPOTENCY_KEY_REUSED`. */
  readonly token?: { readonly key: string; readonly fingerprint: string } | undefined;
}

export interface Publish {
  /** Resolves with the id once the publication is in the log. Throws `BUS_UNAVAILABLE` when that isn't known. */
  publish(draft: Draft | GapDraft, options: PublishOptions): Promise<PublicationId>;
  /** Several in one call, in order; results in order. For sources that bring their own tokens or fences. */
  append(requests: readonly AppendRequest[], ingress: Ingress): Promise<AppendResult[]>;
}
