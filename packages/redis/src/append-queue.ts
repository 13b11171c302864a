import { type AppendRequest, type AppendResult, compareFencePositions, type Meter } from "@carillon/core";
import { CarillonError } from "@carillon/protocol";
import { encodeRecord } from "./record.ts";

export interface EncodedRequest {
  readonly request: AppendRequest;
  readonly record: string;
  /** Shares the fence verdict of the request before it. */
  readonly continues: boolean;
}

/** Requests that go in one call or not at all. */
export class Chunk {
  readonly requests: readonly EncodedRequest[];
  readonly bytes: number;
  readonly deadline: number;
  /** What it came in with, and its fence sources: when it fails, later ones that share any of these fail too. */
  readonly ties: ReadonlySet<unknown>;
  settled = false;
  readonly answer = Promise.withResolvers<AppendResult[]>();

  constructor(requests: readonly EncodedRequest[], job: object, deadline: number) {
    this.requests = requests;
    this.bytes = requests.reduce((sum, { record }) => sum + record.length, 0);
    this.deadline = deadline;
    this.ties = new Set<unknown>([job, ...requests.flatMap(({ request }) => request.fence?.source ?? [])]);
  }

  resolve(results: AppendResult[]): void {
    if (this.settled) return;
    this.settled = true;
    this.answer.resolve(results);
  }

  reject(error: unknown): void {
    if (this.settled) return;
    this.settled = true;
    this.answer.reject(error);
  }
}

/**
 * What waits for the log, in order and bounded by count, bytes and age.
 *
 * One chunk's failure takes along what came after it from the same caller or the same fence source: appended alone, the later
 * position would pass the fence, and the failed one would be refused when it is tried again.
 */
export class AppendQueue {
  readonly #meter: Meter;
  readonly #timeoutMs: number;
  #waiting: Chunk[] = [];
  #inFlight: readonly Chunk[] = [];
  #requests = 0;
  #bytes = 0;
  #timer: NodeJS.Timeout | undefined;

  constructor(options: { timeoutMs: number; meter: Meter }) {
    this.#timeoutMs = options.timeoutMs;
    this.#meter = options.meter;
  }

  get empty(): boolean {
    return this.#waiting.length === 0;
  }

  async add(requests: readonly AppendRequest[]): Promise<AppendResult[]> {
    const job = {};
    const deadline = performance.now() + this.#timeoutMs;
    const chunks = cut(encode(requests)).map((part) => new Chunk(part, job, deadline));
    const bytes = chunks.reduce((sum, chunk) => sum + chunk.bytes, 0);
    if (this.#requests + requests.length > MAX_WAITING || this.#bytes + bytes > MAX_WAITING_BYTES) {
      this.#meter.count("drops", requests.length, { reason: "append_queue" });
      throw new CarillonError("BUS_UNAVAILABLE", "too many publications wait for the log", { retryAfterS: 1 });
    }
    this.#waiting.push(...chunks);
    this.#requests += requests.length;
    this.#bytes += bytes;
    this.#measure();
    this.#arm();
    return (await Promise.all(chunks.map((chunk) => chunk.answer.promise))).flat();
  }

  /** The next call's worth; in flight until the next `take`. */
  take(): readonly Chunk[] {
    let count = 0;
    let bytes = 0;
    let chunks = 0;
    for (const chunk of this.#waiting) {
      count += chunk.requests.length;
      bytes += chunk.bytes;
      if (chunks > 0 && (count > MAX_CALL || bytes > MAX_CALL_BYTES)) break;
      chunks++;
    }
    this.#inFlight = this.#waiting.splice(0, chunks);
    for (const chunk of this.#inFlight) this.#forget(chunk);
    this.#measure();
    return this.#inFlight;
  }

  /** Rejects these, and what waits behind them and depends on them. */
  fail(chunks: readonly Chunk[], error: unknown): void {
    const ties = new Set<unknown>();
    for (const chunk of chunks) {
      if (chunk.settled) continue;
      chunk.reject(error);
      for (const tie of chunk.ties) ties.add(tie);
    }
    if (ties.size === 0) return;
    for (const chunk of this.#inFlight) {
      if (!chunk.ties.isDisjointFrom(ties)) chunk.reject(error);
    }
    this.#waiting = this.#waiting.filter((chunk) => {
      if (!chunk.settled && chunk.ties.isDisjointFrom(ties)) return true;
      for (const tie of chunk.ties) ties.add(tie);
      chunk.reject(error);
      this.#forget(chunk);
      return false;
    });
    this.#measure();
  }

  close(error: unknown): void {
    clearTimeout(this.#timer);
    this.fail([...this.#inFlight, ...this.#waiting], error);
  }

  /** One timer for all: they came in order and have the same time to wait. */
  #arm(): void {
    const next = this.#inFlight.find((chunk) => !chunk.settled) ?? this.#waiting[0];
    if (this.#timer !== undefined || next === undefined) return;
    this.#timer = setTimeout(
      () => {
        this.#timer = undefined;
        const now = performance.now();
        const expired = [...this.#inFlight, ...this.#waiting].filter(
          (chunk) => !chunk.settled && chunk.deadline <= now,
        );
        const error = new CarillonError("BUS_UNAVAILABLE", "the log did not answer in time", { retryAfterS: 1 });
        if (expired.length > 0) this.fail(expired, error);
        this.#arm();
      },
      Math.max(next.deadline - performance.now(), 1),
    );
  }

  #forget(chunk: Chunk): void {
    this.#requests -= chunk.requests.length;
    this.#bytes -= chunk.bytes;
  }

  #measure(): void {
    this.#meter.set("appendQueue", this.#requests);
  }
}

function encode(requests: readonly AppendRequest[]): EncodedRequest[] {
  return requests.map((request, index) => ({
    request,
    record: encodeRecord(request.draft),
    continues: sameFence(request, requests[index - 1]),
  }));
}

function sameFence(one: AppendRequest, other: AppendRequest | undefined): boolean {
  const a = one.fence;
  const b = other?.fence;
  if (a === undefined || b === undefined) return false;
  return a.source === b.source && compareFencePositions(a.position, b.position) === 0;
}

/** Into parts that fit one call; never between two requests of one feed position, of which the second would then be refused. */
function cut(requests: readonly EncodedRequest[]): EncodedRequest[][] {
  const parts: EncodedRequest[][] = [];
  let part: EncodedRequest[] = [];
  let bytes = 0;
  for (const request of requests) {
    const full = part.length >= MAX_CALL || bytes + request.record.length > MAX_CALL_BYTES;
    if (full && part.length > 0 && !request.continues) {
      parts.push(part);
      part = [];
      bytes = 0;
    }
    part.push(request);
    bytes += request.record.length;
  }
  if (part.length > 0) parts.push(part);
  return parts;
}

const MAX_CALL = 512;
const MAX_CALL_BYTES = 1024 * 1024;
const MAX_WAITING = 50_000;
const MAX_WAITING_BYTES = 64 * 1024 * 1024;
