import { CarillonError, type Draft, formatId, type GapDraft, type LogEntry, type Position } from "@carillon/protocol";
import { compareFencePositions } from "../fence.ts";
import type { AppendRequest, AppendResult, Bus, BusListener, FencePosition, Log, LogRead } from "../ports.ts";
import { entryBytes } from "../ring.ts";

interface StoredToken {
  readonly fingerprint: string;
  readonly id: string;
  readonly expiresMs: number;
}

export interface MemoryLogOptions {
  readonly maxEntries?: number;
  readonly maxBytes?: number;
  readonly maxTokens?: number;
  readonly retentionMs?: number;
  readonly now?: () => number;
}

/**
 * Log and bus of a single node without Redis. Its epoch is its boot: positions of an earlier process are told as a gap.
 * Broadcasts run in a microtask of their own, as late as they would be from Redis: after the caller of `append` went on.
 */
export class MemoryLog implements Log, Bus {
  readonly #maxEntries: number;
  readonly #maxBytes: number;
  readonly #maxTokens: number;
  readonly #retentionMs: number;
  readonly #now: () => number;
  readonly #epoch: number;
  readonly #entries: LogEntry[] = [];
  readonly #tokens = new Map<string, StoredToken>();
  readonly #fences = new Map<string, FencePosition>();
  readonly #listeners: BusListener[] = [];
  #n = 0;
  #bytes = 0;

  readonly hearing = true;

  constructor(options: MemoryLogOptions = {}) {
    this.#maxEntries = options.maxEntries ?? 10_000;
    this.#maxBytes = options.maxBytes ?? 128 * 1024 * 1024;
    this.#maxTokens = options.maxTokens ?? 100_000;
    this.#retentionMs = options.retentionMs ?? 3_600_000;
    this.#now = options.now ?? Date.now;
    this.#epoch = this.#now();
  }

  async append(requests: readonly AppendRequest[]): Promise<AppendResult[]> {
    // Before anything is numbered: a refusal must not leave a hole.
    this.#makeRoom(requests);
    const first = this.#n + 1;
    const fresh: LogEntry[] = [];
    let shared: { source: string; position: FencePosition } | undefined;
    const results = requests.map((request): AppendResult => {
      const known = this.#known(request);
      if (known !== undefined) return known;
      const { fence } = request;
      if (fence !== undefined) {
        const continues =
          shared !== undefined &&
          shared.source === fence.source &&
          compareFencePositions(shared.position, fence.position) === 0;
        const last = this.#fences.get(fence.source);
        if (!continues && last !== undefined && compareFencePositions(fence.position, last) <= 0)
          return { outcome: "fenced" };
        this.#fences.set(fence.source, fence.position);
      }
      shared = fence;
      const entry = this.#entry(request.draft);
      fresh.push(entry);
      if (request.token !== undefined) this.#remember(request.token, entry.id);
      return { outcome: "appended", id: entry.id };
    });
    if (fresh.length > 0) {
      for (const entry of fresh) {
        this.#entries.push(entry);
        this.#bytes += entryBytes(entry);
      }
      this.#trim();
      queueMicrotask(() => {
        for (const listener of this.#listeners) listener.broadcast({ epoch: this.#epoch, first, entries: fresh });
      });
    }
    return results;
  }

  async head(): Promise<Position> {
    return { epoch: this.#epoch, n: this.#n };
  }

  async read(after: Position, limit: number): Promise<LogRead> {
    const oldest = this.#n - this.#entries.length;
    const from = after.epoch === this.#epoch ? Math.max(after.n - oldest, 0) : 0;
    return { entries: this.#entries.slice(from, from + limit), head: await this.head() };
  }

  async fence(source: string): Promise<FencePosition | undefined> {
    return this.#fences.get(source);
  }

  listen(listener: BusListener): void {
    this.#listeners.push(listener);
  }

  #entry(draft: Draft | GapDraft): LogEntry {
    this.#n++;
    return { ...draft, id: formatId({ epoch: this.#epoch, n: this.#n }), timestampMs: this.#now() };
  }

  #known({ token }: AppendRequest): AppendResult | undefined {
    if (token === undefined) return undefined;
    const stored = this.#tokens.get(token.key);
    if (stored === undefined) return undefined;
    if (stored.expiresMs <= this.#now()) {
      this.#tokens.delete(token.key);
      return undefined;
    }
    return stored.fingerprint === token.fingerprint
      ? { outcome: "repeated", id: stored.id }
      : { outcome: "token-reused" };
  }

  #remember(token: NonNullable<AppendRequest["token"]>, id: string): void {
    const expiresMs = this.#now() + token.ttlS * 1000;
    this.#tokens.set(token.key, { fingerprint: token.fingerprint, id, expiresMs });
  }

  /** Refuses rather than forgets a promise: dropping a live token would let its retry publish twice. */
  #makeRoom(requests: readonly AppendRequest[]): void {
    const wanted = requests.reduce(
      (sum, { token }) => sum + (token === undefined || this.#tokens.has(token.key) ? 0 : 1),
      0,
    );
    if (wanted === 0 || this.#tokens.size + wanted <= this.#maxTokens) return;
    const now = this.#now();
    for (const [key, token] of this.#tokens) if (token.expiresMs <= now) this.#tokens.delete(key);
    if (this.#tokens.size + wanted > this.#maxTokens) {
      throw new CarillonError("BUS_UNAVAILABLE", "too many idempotency keys are remembered", { retryAfterS: 60 });
    }
  }

  #trim(): void {
    const oldestMs = this.#now() - this.#retentionMs;
    let drop = 0;
    let kept = this.#entries.length;
    for (; drop < this.#entries.length; drop++, kept--) {
      const oldest = this.#entries[drop]!;
      const within = kept <= this.#maxEntries && (this.#bytes <= this.#maxBytes || kept === 1);
      if (within && oldest.timestampMs >= oldestMs) break;
      this.#bytes -= entryBytes(oldest);
    }
    if (drop > 0) this.#entries.splice(0, drop);
  }
}
