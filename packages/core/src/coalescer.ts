import type { Draft, PublicationId } from "@carillon/protocol";
import type { Meter } from "./metrics.ts";

type Append = () => Promise<PublicationId>;

interface Window {
  /** The publication that all who came during the window share; made at its end. */
  shared: Promise<PublicationId> | undefined;
}

/** Open windows; beyond it every refresh gets a publication of its own, as without coalescing. */
const MAX_WINDOWS = 10_000;

/**
 * Lets equal refreshes without payload share a publication: the first goes out at once and opens a window, those that come
 * during the window share one more at its end and are answered then. Nobody is answered before the log has the publication.
 */
export class Coalescer {
  readonly #windowMs: number;
  readonly #meter: Pick<Meter, "count">;
  readonly #windows = new Map<string, Window>();

  constructor(windowMs: number, meter: Pick<Meter, "count">) {
    this.#windowMs = windowMs;
    this.#meter = meter;
  }

  run(draft: Draft, append: Append): Promise<PublicationId> {
    const key = this.#key(draft);
    if (key === undefined) return append();
    const open = this.#windows.get(key);
    if (open === undefined) {
      if (this.#windows.size < MAX_WINDOWS) this.#open(key);
      return append();
    }
    if (open.shared === undefined) open.shared = this.#atEnd(key, append);
    else this.#meter.count("publicationsCoalesced");
    return open.shared;
  }

  #key(draft: Draft): string | undefined {
    if (this.#windowMs === 0 || draft.scope === undefined || draft.payload !== undefined || draft.from !== undefined) return undefined;
    return JSON.stringify([draft.channel, draft.scope, draft.to ?? null]);
  }

  #open(key: string): void {
    const window: Window = { shared: undefined };
    this.#windows.set(key, window);
    setTimeout(() => {
      // A shared publication at the end opens the next window itself.
      if (window.shared === undefined) this.#windows.delete(key);
    }, this.#windowMs);
  }

  async #atEnd(key: string, append: Append): Promise<PublicationId> {
    await new Promise((resolve) => setTimeout(resolve, this.#windowMs));
    this.#open(key);
    return append();
  }
}
