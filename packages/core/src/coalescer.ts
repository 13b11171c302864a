import type { Draft, PublicationId } from "@carillon/protocol";
import type { Meter } from "./metrics.ts";

type Append = () => Promise<PublicationId>;

/** The publication that all who came during a window share; made at its end. */
interface Shared {
  readonly append: Append;
  readonly id: PromiseWithResolvers<PublicationId>;
}

/** Open windows; beyond it every refresh gets a publication of its own, as without coalescing. */
const MAX_WINDOWS = 10_000;
/** A long list of recipients seldom comes twice, and would be kept here for nothing. */
const MAX_KEY_LENGTH = 1024;

/**
 * Lets equal refreshes without payload share a publication: the first goes out at once and opens a window, those that come
 * during the window share one more at its end and are answered then. Nobody is answered before the log has the publication.
 */
export class Coalescer {
  readonly #windowMs: number;
  readonly #meter: Pick<Meter, "count">;
  readonly #windows = new Map<string, Shared | undefined>();

  constructor(windowMs: number, meter: Pick<Meter, "count">) {
    this.#windowMs = windowMs;
    this.#meter = meter;
  }

  run(draft: Draft, append: Append): Promise<PublicationId> {
    const key = this.#key(draft);
    if (key === undefined) return append();
    if (!this.#windows.has(key)) {
      if (this.#windows.size < MAX_WINDOWS) this.#open(key);
      return append();
    }
    let shared = this.#windows.get(key);
    if (shared === undefined) {
      shared = { append, id: Promise.withResolvers() };
      this.#windows.set(key, shared);
    } else this.#meter.count("publicationsCoalesced");
    return shared.id.promise;
  }

  #key(draft: Draft): string | undefined {
    const { channel, scope, payload, truncated, from, to } = draft;
    if (this.#windowMs === 0 || scope === undefined || payload !== undefined) return undefined;
    if (truncated !== undefined || from !== undefined) return undefined;
    const key = JSON.stringify([channel, scope, to ?? null]);
    return key.length <= MAX_KEY_LENGTH ? key : undefined;
  }

  #open(key: string): void {
    this.#windows.set(key, undefined);
    setTimeout(() => this.#end(key), this.#windowMs);
  }

  /** A shared publication opens the next window itself: it is the first of those that follow. */
  #end(key: string): void {
    const shared = this.#windows.get(key);
    this.#windows.delete(key);
    if (shared === undefined) return;
    this.#open(key);
    shared.append().then(shared.id.resolve, shared.id.reject);
  }
}
