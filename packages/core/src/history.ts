/**
 * Reads of the recent past: from the ring where it reaches, else from the log. All who ask at one time are served by one pass
 * over the log, from the oldest position asked for, so that a storm of resuming clients costs Redis a handful of reads.
 */
import {
  CarillonError,
  formatId,
  isGap,
  type LogEntry,
  type Position,
  type Publication,
  parseId,
} from "@carillon/protocol";
import type { Meter } from "./metrics.ts";
import type { Log } from "./ports.ts";
import { entryBytes, type Ring } from "./ring.ts";

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

/** Of the publications on a page beyond its first, as `entryBytes` counts: a page is held whole for whoever reads it slowly. */
const PAGE_MAX_BYTES = 2 * 1024 * 1024;
const PAGE = 500;
const MAX_READERS = 100_000;
/** In one pass: more than any log has pages. Beyond it the node hears more during a read than its ring holds. */
const MAX_READS = 5_000;
/** Between two passes: in a storm of clients each serves many. Whoever asks when nothing is read does not wait. */
const GATHER_MS = 200;
/** Entries handed to readers before the event loop gets its turn. */
const VISITS_PER_TURN = 100_000;

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
  async scan(since: Position, visit: Visit): Promise<Scan> {
    const here = this.#options.position();
    if (here === undefined) throw new CarillonError("NOT_READY", undefined, { retryAfterS: 1 });
    const recent = this.#options.ring.after(since);
    if (recent !== undefined) {
      visit(recent);
      return { whole: true, reached: here };
    }
    if (since.epoch !== here.epoch || since.n > here.n) return { whole: false, reached: here };
    if (this.#waiting.length >= MAX_READERS) throw new CarillonError("BUS_UNAVAILABLE", undefined, { retryAfterS: 5 });
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
   * One channel's publications after `since`, at most `limit` (1 or more) and fewer where they are large; without `since` the newest
   * that this node has in memory. `audible` says which of them the caller may see.
   */
  async read(
    channel: string,
    since: string | undefined,
    limit: number,
    audible: (publication: Publication) => boolean = () => true,
  ): Promise<HistoryPage> {
    const here = this.#options.position();
    if (here === undefined) throw new CarillonError("NOT_READY", undefined, { retryAfterS: 1 });
    if (since === undefined) return this.#newest(channel, limit, audible, here);
    const oldest: Position = { epoch: here.epoch, n: 0 };
    const asked = parseId(since);
    const page = new Page(limit);
    let cut = false;
    let cutAfterLast = false;
    const visit: Visit = (entries) => {
      for (const entry of entries) {
        if (page.full) return;
        if (isGap(entry)) cutAfterLast ||= concerns(entry.gap.channels, channel);
        else if (entry.channel === channel && audible(entry) && page.add(entry)) {
          cut ||= cutAfterLast;
          cutAfterLast = false;
        }
      }
    };
    const scan = await this.scan(asked ?? oldest, visit);
    const { publications } = page;
    if (!scan.whole && publications.length === 0) await this.scan(oldest, visit);
    const id = page.full ? publications.at(-1)!.id : formatId(scan.reached);
    const isCut = cut || (cutAfterLast && !page.full);
    return { publications, id, gap: asked === undefined || !scan.whole || isCut };
  }

  #newest(channel: string, limit: number, audible: (publication: Publication) => boolean, here: Position): HistoryPage {
    const page = new Page(limit);
    for (const entry of this.#options.ring.newestFirst()) {
      if (page.full) break;
      if (!isGap(entry) && entry.channel === channel && audible(entry)) page.add(entry);
    }
    return { publications: page.publications.reverse(), id: formatId(here), gap: false };
  }

  async #serve(): Promise<void> {
    if (this.#serving) return;
    this.#serving = true;
    // Whoever asks in this turn of the event loop shares the pass.
    await nextTurn();
    for (let passes = 0; this.#waiting.length > 0; passes++) {
      if (passes > 0) await new Promise((resolve) => setTimeout(resolve, GATHER_MS));
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

  async #pass(all: readonly Reader[]): Promise<void> {
    const { ring, log, meter, position } = this.#options;
    const { epoch } = position()!;
    const [readers, strangers] = partition(all, ({ since }) => since.epoch === epoch);
    for (const reader of strangers) this.#lose(reader);
    let from: Position = {
      epoch,
      n: readers.reduce((least, { since }) => Math.min(least, since.n), Number.MAX_SAFE_INTEGER),
    };
    for (let reads = 0; readers.length > 0 && reads < MAX_READS; ) {
      const recent = ring.after(from);
      if (recent !== undefined) {
        this.#finish(readers.splice(0, readersPerTurn(recent.length)), recent);
        if (readers.length > 0) await nextTurn();
        continue;
      }
      const here = position()!;
      if (here.epoch !== epoch) break;
      const { entries, head } = await log.read(from, PAGE);
      reads++;
      meter.count("logReads");
      if (head.epoch !== epoch) break;
      const first = entries[0] === undefined ? head.n + 1 : numberOf(entries[0]);
      if (from.n + 1 < first) for (const reader of readers) if (reader.since.n + 1 < first) reader.whole = false;
      // Later entries arrive here live; the visit ends at this node's position.
      await visitAll(
        readers,
        entries.filter((entry) => numberOf(entry) <= here.n),
      );
      const last = entries.at(-1);
      from = { epoch, n: last === undefined ? here.n : Math.min(numberOf(last), here.n) };
    }
    for (const reader of readers) this.#lose(reader);
  }

  /** The rest is in memory. */
  #finish(readers: readonly Reader[], recent: readonly LogEntry[]): void {
    for (const reader of readers) visitOne(reader, recent);
    const reached = this.#options.position()!;
    for (const reader of readers) reader.resolve({ whole: reader.whole, reached });
  }

  /** Another epoch began: what was before it is out of reach. */
  #lose(reader: Reader): void {
    reader.resolve({ whole: false, reached: this.#options.position()! });
  }
}

class Page {
  readonly publications: Publication[] = [];
  /** Something was left out, and so is everything after it. */
  full = false;
  readonly #limit: number;
  #bytes = 0;

  constructor(limit: number) {
    this.#limit = limit;
  }

  /** False where it has no room. */
  add(publication: Publication): boolean {
    const { length } = this.publications;
    this.#bytes += entryBytes(publication);
    this.full ||= length === this.#limit || (length > 0 && this.#bytes > PAGE_MAX_BYTES);
    if (!this.full) this.publications.push(publication);
    return !this.full;
  }
}

async function visitAll(readers: readonly Reader[], entries: readonly LogEntry[]): Promise<void> {
  if (entries.length === 0) return;
  const perTurn = readersPerTurn(entries.length);
  for (let i = 0; i < readers.length; i += perTurn) {
    if (i > 0) await nextTurn();
    for (const reader of readers.slice(i, i + perTurn)) visitOne(reader, entries);
  }
}

function visitOne({ since, visit }: Reader, entries: readonly LogEntry[]): void {
  if (entries.length === 0) return;
  const known = since.n + 1 - numberOf(entries[0]!);
  if (known < entries.length) visit(known <= 0 ? entries : entries.slice(known));
}

/** Some milliseconds' worth, so that heartbeats and live traffic get their turn while thousands are served. */
function readersPerTurn(entries: number): number {
  return Math.max(Math.floor(VISITS_PER_TURN / Math.max(entries, 1)), 1);
}

function nextTurn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

function numberOf(entry: LogEntry): number {
  return parseId(entry.id)!.n;
}

function partition<T>(items: readonly T[], isFirst: (item: T) => boolean): [T[], T[]] {
  const parts: [T[], T[]] = [[], []];
  for (const item of items) parts[isFirst(item) ? 0 : 1].push(item);
  return parts;
}

export function concerns(channels: readonly string[] | undefined, channel: string): boolean {
  return channels === undefined || channels.includes(channel);
}
