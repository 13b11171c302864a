/**
 * The way into the log for every ingress: bounds what is published, lets equal refreshes share a publication, counts.
 */
import { CarillonError, type Draft, type GapDraft, isGap, type PublicationId } from "@carillon/protocol";
import { Coalescer } from "./coalescer.ts";
import type { Meter } from "./metrics.ts";
import type { AppendRequest, AppendResult, Log } from "./ports.ts";
import type { Ingress, Publish, PublishOptions } from "./publish.ts";

/** How long a request's Idempotency-Key is remembered. */
export const TOKEN_TTL_S = 24 * 60 * 60;

export interface PublisherOptions {
  readonly log: Pick<Log, "append">;
  readonly meter: Meter;
  /** Equal refreshes without payload within this many milliseconds may share one publication; 0 switches it off. */
  readonly coalesceMs: number;
  readonly maxPayloadBytes: number;
}

export class Publisher implements Publish {
  readonly #options: PublisherOptions;
  readonly #coalescer: Coalescer;
  #inFlight = 0;

  constructor(options: PublisherOptions) {
    this.#options = options;
    this.#coalescer = new Coalescer(options.coalesceMs, options.meter);
  }

  /** Publications that were asked for and not yet answered. */
  get inFlight(): number {
    return this.#inFlight;
  }

  publish(draft: Draft | GapDraft, { ingress, token }: PublishOptions): Promise<PublicationId> {
    // What waits for a window's end is in flight too.
    return this.#counted(1, ingress, async () => {
      this.#assertSize(draft);
      const request: AppendRequest =
        token === undefined ? { draft } : { draft, token: { ...token, ttlS: TOKEN_TTL_S } };
      const append = () => this.#appendOne(request, ingress);
      return token === undefined && !isGap(draft) ? this.#coalescer.run(draft, append) : append();
    });
  }

  append(requests: readonly AppendRequest[], ingress: Ingress): Promise<AppendResult[]> {
    return this.#counted(requests.length, ingress, () => this.#append(requests, ingress));
  }

  async #counted<T>(publications: number, ingress: Ingress, work: () => Promise<T>): Promise<T> {
    this.#inFlight += publications;
    try {
      return await work();
    } catch (error) {
      if (error instanceof CarillonError) {
        this.#options.meter.count("publicationsRefused", publications, { ingress, reason: error.code });
      }
      throw error;
    } finally {
      this.#inFlight -= publications;
    }
  }

  async #append(requests: readonly AppendRequest[], ingress: Ingress): Promise<AppendResult[]> {
    const { log, meter } = this.#options;
    const startedMs = performance.now();
    const results = await log.append(requests);
    meter.observe("appendSeconds", (performance.now() - startedMs) / 1000);
    const appended = results.reduce((sum, result) => sum + (result.outcome === "appended" ? 1 : 0), 0);
    if (appended > 0) meter.count("publications", appended, { ingress });
    return results;
  }

  async #appendOne(request: AppendRequest, ingress: Ingress): Promise<PublicationId> {
    const [result] = await this.#append([request], ingress);
    if (result === undefined || result.outcome === "fenced")
      throw new Error("the log answered a request without a fence as fenced");
    if (result.outcome === "token-reused") throw new CarillonError("IDEMPOTENCY_KEY_REUSED");
    return result.id;
  }

  #assertSize(draft: Draft | GapDraft): void {
    if (isGap(draft) || draft.payload === undefined) return;
    const { maxPayloadBytes } = this.#options;
    // A character is at most three bytes here, so that most payloads need no counting.
    if (draft.payload.length * 3 <= maxPayloadBytes) return;
    const bytes = Buffer.byteLength(draft.payload);
    if (bytes > maxPayloadBytes) {
      throw new CarillonError(
        "PAYLOAD_TOO_LARGE",
        `the payload has ${bytes} bytes; MAX_PAYLOAD_BYTES is ${maxPayloadBytes}`,
      );
    }
  }
}
