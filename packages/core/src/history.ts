/**
 * Reads of the recent past: from the ring where it reaches, else from the log. All who ask at one time are served by one pass
 * over the log, from the oldest position asked for, so that a storm of resuming clients costs Redis a handful of reads.
 */
import { CarillonError, formatId, isGap, type LogEntry, type Position, parseId, type Publication } from "@carillon/protocol";
import type { Meter } from "./metrics.ts";
import type { Log } from "./ports.ts";
import type { Ring } from "./ring.ts";

export interface Scan {
  /** False when something after `since` is out of reach: the log was trimmed, or `since` is of another epoch. */
  readonly whole: boolean;
  /** How far the visit came: this node's position when the last page was visited. */
  readonly reached: Position;
}

export interface HistoryPage {
  readonly publications: readonly Publication[];
  /** Pass it as the next `since`. */
  readonly id: string;
  /** Whether publications between `since` and `id` may be missing here. */
  readonly gap: boolean;
}

export interface HistoryOptions {
  readonly log: Pick<Log, "read">;
  readonly ring: Ring;
  readonly meter: Meter;
  readonly position: () => Position | undefined;
}

type Visit = (entries: readonly LogEntry[]) => void;

interface Reader {
  readonly since: Position;
  readonly visit: Visit;
  readonly resolve: (scan: Scan) => void;
  readonly reject: (error: unknown) => void;
  whole: boolean;
}

const PAGE = 500;
const MAX_READERS = 100_000;

export class History {
  readonly #options: HistoryOptions;
  #waiting: Reader[] = [];
  #serving = false;

  constructor(options: HistoryOptions) {
    this.#options = options;
  }

  /**
   * Visits every entry after `since` in order, up to this node's position at that time. Visits happen at once where the ring
   * reaches back far enough. What arrived between the last visit and the caller's next step is `ring.after(reached)`.
   * Throws `BUS_UNAVAILABLE` when the log can't be read.
   */
  scan(since: Position, visit: Visit): Promise<Scan> {
    const here = this.#options.position();
    const recent = this.#options.ring.after(since);
    if (here === undefined) return Promise.reject(new CarillonError("NOT_READY"));
    if (recent !== undefined) {
      visit(recent);
      return Promise.resolve({ whole: true, reached: here });
    }
    if (since.epoch !== here.epoch || since.n > here.n) return Promise.resolve({ whole: false, reached: here });
    if (this.#waiting.length >= MAX_READERS) return Promise.reject(new CarillonError("BUS_UNAVAILABLE", undefined, { retryAfterS: 5 }));
    return new Promise((resolve, reject) => {
      this.#waiting.push({ since, visit, resolve, reject, whole: true });
      void this.#serve();
    });
  }

  /** What followed `reached` meanwhile, to finish in one synchronous step. `undefined` after another epoch began. */
  rest(reached: Position): LogEntry[] | undefined {
    return this.#options.ring.after(reached);
  }

  /**
   * One channel's publications after `since`, at most `limit`; without `since` the newest that this node has in memory.
   * `audible` says which of them the caller may see.
   */
  async read(channel: string, since: string | undefined, limit: number, audible: (publication: Publication) => boolean = () => true): Promise<HistoryPage> {
    const here = this.#options.position();
    if (here === undefined) throw new CarillonError("NOT_READY", undefined, { retryAfterS: 1 });
    const oldest: Position = { epoch: here.epoch, n: 0 };
    const asked = since === undefined ? undefined : parseId(since);
    const publications: Publication[] = [];
    let cut = false;
    const visit: Visit = (entries) => {
      for (const entry of entries) {
        if (isGap(entry)) cut ||= concerns(entry.gap.channels, channel);
        else if (entry.channel === channel && audible(entry) && publications.length <= limit) publications.push(entry);
      }
    };
    if (since === undefined) return this.#newest(channel, limit, audible, here);
    const scan = await this.scan(asked ?? oldest, visit);
    if (!scan.whole && publications.length === 0) await this.scan(oldest, visit);
    const page = publications.slice(0, limit);
    const id = publications.length > limit ? page.at(-1)!.id : formatId(scan.reached);
    return { publications: page, id, gap: asked === undefined || !scan.whole || cut };
  }

  #newest(channel: string, limit: number, audible: (publication: Publication) => boolean, here: Position): HistoryPage {
    const publications: Publication[] = [];
    for (const entry of this.#options.ring.newestFirst()) {
      if (publications.length >= limit) break;
      if (!isGap(entry) && entry.channel === channel && audible(entry)) publications.push(entry);
    }
    return { publications: publications.reverse(), id: formatId(here), gap: false };
  }

  async #serve(): Promise<void> {
    if (this.#serving) return;
    this.#serving = true;
    // Whoever asks in this turn of the event loop shares the pass.
    await new Promise((resolve) => setImmediate(resolve));
    while (this.#waiting.length > 0) {
      const readers = this.#waiting;
      this.#waiting = [];
      try {
        await this.#pass(readers);
      } catch (error) {
        for (const reader of readers) reader.reject(error);
      }
    }
    this.#serving = false;
  }

  async #pass(readers: readonly Reader[]): Promise<void> {
    const epoch = readers[0]!.since.epoch;
    let from: Position = { epoch, n: readers.reduce((least, { since }) => Math.min(least, since.n), Number.MAX_SAFE_INTEGER) };
    for (;;) {
      const recent = this.#options.ring.after(from);
      if (recent !== undefined) {
        visitAll(readers, recent);
        const reached = this.#options.position()!;
        for (const reader of readers) reader.resolve({ whole: reader.whole, reached });
        return;
      }
      const here = this.#options.position()!;
      const { entries, head } = await this.#options.log.read(from, PAGE);
      this.#options.meter.count("logReads");
      if (head.epoch !== epoch || here.epoch !== epoch) {
        for (const reader of readers) reader.resolve({ whole: false, reached: this.#options.position()! });
        return;
      }
      const first = entries[0] === undefined ? head.n + 1 : parseId(entries[0].id)!.n;
      for (const reader of readers) if (reader.since.n + 1 < first && from.n + 1 < first) reader.whole = false;
      // Later entries arrive here live; the visit ends at this node's position.
      const upToHere = entries.filter((entry) => parseId(entry.id)!.n <= here.n);
      visitAll(readers, upToHere);
      from = { epoch, n: Math.min(upToHere.length === entries.length && entries.length === PAGE ? first + PAGE - 1 : here.n, here.n) };
    }
  }
}

function visitAll(readers: readonly Reader[], entries: readonly LogEntry[]): void {
  if (entries.length === 0) return;
  const first = parseId(entries[0]!.id)!.n;
  for (const { since, visit } of readers) {
    const known = since.n + 1 - first;
    if (known < entries.length) visit(known <= 0 ? entries : entries.slice(known));
  }
}

export function concerns(channels: readonly string[] | undefined, channel: string): boolean {
  return channels === undefined || channels.includes(channel);
}
