import type { Audience, Publication } from "../checker/histories.ts";

export interface Draft {
  readonly tag: string;
  readonly channel: string;
  readonly promised: boolean;
  readonly equalScope?: string;
  readonly to?: Audience;
}

/** Everything that was published, with what its ingress answered. */
export class Ledger {
  readonly publications: Publication[] = [];
  accepted = 0;

  /** Calls `send` and notes its outcome: its answer is an acceptance; a `Refused` certainly none; anything else thrown may be one. */
  async record(draft: Draft, send: (publication: Publication) => Promise<string | undefined>): Promise<void> {
    const publication: Publication = { ...draft, outcome: "unknown", sentAt: now() };
    this.publications.push(publication);
    try {
      const id = await send(publication);
      publication.outcome = "accepted";
      publication.answeredAt = now();
      if (id !== undefined) publication.id = id;
      this.accepted++;
    } catch (error) {
      publication.error = (error as Error).message;
      if (error instanceof Refused) publication.outcome = "refused";
    }
  }
}

/** It was certainly not accepted. */
export class Refused extends Error {}

export const now = (): number => performance.timeOrigin + performance.now();
