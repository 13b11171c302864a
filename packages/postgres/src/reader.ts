/**
 * Publishes the outbox, window by window (migrations/0001_outbox.sql says what a window is). It keeps its place while the bus is away, and
 * a second reader beside it, or a new one in its place, does no harm: the log's fence drops what it already has.
 */
import { setTimeout as sleep } from "node:timers/promises";
import {
  type AppendRequest,
  type AppendResult,
  type FencePosition,
  type Log,
  MemoryTokenBucket,
  type Publish,
  Rarely,
} from "@carillon/core";
import { CarillonError } from "@carillon/protocol";
import type { Query, Row } from "./connection.ts";
import { advance, type Cursor, FENCE_SOURCE, type GapCause, openCursor, poll, reload } from "./cursor.ts";
import { OutboxRows, type RowOptions } from "./outbox-row.ts";
import { PAGE } from "./page.ts";
import { Retention } from "./retention.ts";

export interface ReaderOptions extends RowOptions {
  readonly publisher: Pick<Publish, "append">;
  readonly log: Pick<Log, "fence">;
  /** Default 500. */
  readonly pageRows?: number;
  /** Default 4 MiB; a page has at least one row. */
  readonly pageBytes?: number;
  /** How long it sleeps without a hint; default 100. */
  readonly pollMs?: number;
}

interface Page {
  readonly rows: readonly Row[];
  readonly lastId: number;
  /** Whether the window may have more rows. */
  readonly more: boolean;
  /** Of its oldest row, when it was read. */
  readonly ageS: number;
  readonly readAt: number;
}

const RETRY_MIN_MS = 100;
const RETRY_MAX_MS = 2_000;
const REBUILD_EVERY_MS = 60_000;
/** Each window costs Postgres some statements and a commit, whatever is in it; and with them the writers, where its cores are busy. */
const WINDOWS_PER_S = 150;
const WARN_EVERY_MS = 60_000;
/** SQLSTATEs of text that can't be had as UTF-8: from a database in another encoding, or in SQL_ASCII, which checks nothing. */
const NOT_UTF8 = new Set(["22021", "22P05"]);

export class OutboxReader {
  readonly #query: Query;
  readonly #options: ReaderOptions;
  readonly #rows: OutboxRows;
  readonly #retention: Retention;
  readonly #pageRows: number;
  readonly #pageBytes: number;
  readonly #windows = new MemoryTokenBucket(WINDOWS_PER_S);
  readonly #rarely = new Rarely(WARN_EVERY_MS);
  #hinted = false;
  #wake: (() => void) | undefined;
  #rebuiltAt = Number.NEGATIVE_INFINITY;

  constructor(query: Query, options: ReaderOptions) {
    this.#query = query;
    this.#options = options;
    this.#rows = new OutboxRows(options);
    this.#retention = new Retention(query);
    this.#pageRows = options.pageRows ?? 500;
    this.#pageBytes = options.pageBytes ?? 4 * 1024 * 1024;
  }

  /** Somebody committed something. */
  hint(): void {
    this.#hinted = true;
    this.#wake?.();
  }

  /** Until `signal` is aborted; rejects when Postgres or a bug says so. Calls `onWhole` whenever it is at the end. */
  async run(signal: AbortSignal, onWhole: () => void = () => {}): Promise<void> {
    const tellGap = (position: FencePosition, cause: GapCause) => this.#tellGap(position, cause, signal);
    let { cursor, from } = await openCursor(this.#query, this.#options.log, tellGap);
    while (!signal.aborted) {
      this.#options.meter.set("bridgeWindow", cursor.window);
      await this.#publishWindow(cursor, from, signal);
      if (signal.aborted) return;
      cursor = await this.#next(cursor, signal, onWhole);
      from = 0;
    }
  }

  /** The next page is read while one is appended. */
  async #publishWindow(cursor: Cursor, from: number, signal: AbortSignal): Promise<void> {
    let page: Page | undefined = await this.#read(cursor, from);
    while (page !== undefined && page.rows.length > 0 && !signal.aborted) {
      const next: Promise<Page> | undefined = page.more ? this.#read(cursor, page.lastId) : undefined;
      next?.catch(() => {}); // awaited below, unless the append ends all this first
      await this.#publish(cursor.window, page, signal);
      page = await next;
    }
  }

  async #read(cursor: Cursor, after: number, limit = this.#pageRows): Promise<Page> {
    const ask = () =>
      this.#query(PAGE, [cursor.lo, cursor.hi, after, cursor.loId, cursor.loXid, limit, this.#pageBytes], {
        name: "page",
      });
    let rows: readonly Row[];
    try {
      rows = await ask();
    } catch (error) {
      if (!NOT_UTF8.has((error as { code?: string }).code ?? "")) throw error;
      if (limit > 1) return this.#read(cursor, after, 1);
      rows = await this.#unconverted(ask);
    }
    const last = rows.at(-1);
    return {
      rows,
      lastId: Number(last?.[0] ?? after),
      more: rows.length === limit || Number(last?.[8] ?? 0) >= this.#pageBytes,
      ageS: Number(rows[0]?.[9] ?? 0),
      readAt: performance.now(),
    };
  }

  /** A row that Postgres refuses to convert must not hold up those behind it: in its place, what can be read of it. */
  async #unconverted(ask: () => Promise<readonly Row[]>): Promise<readonly Row[]> {
    const { meter, logger } = this.#options;
    await this.#query("set client_encoding = sql_ascii");
    const rows = await ask();
    await this.#query("set client_encoding = utf8");
    meter.count("drops", rows.length, { reason: "outbox_encoding" });
    this.#rarely.say("encoding", (heldBack) =>
      logger.warn(
        { id: rows[0]?.[0], heldBack },
        "an outbox row has text that is no UTF-8: published with U+FFFD in its place",
      ),
    );
    return rows;
  }

  async #publish(window: number, page: Page, signal: AbortSignal): Promise<void> {
    const { meter } = this.#options;
    meter.set("bridgeLagSeconds", page.ageS);
    const requests = this.#rows.requests(window, page.rows);
    const results = await this.#append(requests, signal, page);
    const fenced = new Set<number>();
    for (const [index, result] of results.entries()) {
      const minor = requests[index]?.fence?.position[1];
      if (result.outcome === "fenced" && minor !== undefined) fenced.add(minor);
    }
    meter.count("outboxFenced", fenced.size);
    if (!signal.aborted) meter.count("outboxPublished", page.rows.length - fenced.size);
  }

  /** For as long as it takes. Sending again is safe: every request has a fence. Resolves with nothing when `signal` is aborted. */
  async #append(requests: readonly AppendRequest[], signal: AbortSignal, page?: Page): Promise<AppendResult[]> {
    if (requests.length === 0) return [];
    for (let retryMs = RETRY_MIN_MS; !signal.aborted; retryMs = Math.min(retryMs * 2, RETRY_MAX_MS)) {
      try {
        return await this.#options.publisher.append(requests, "postgres");
      } catch (error) {
        if (!(error instanceof CarillonError && error.kind.retryable)) throw error;
        this.#options.logger.debug({ err: error, retryMs }, "the outbox waits for the bus");
        if (page !== undefined) {
          this.#options.meter.set("bridgeLagSeconds", page.ageS + (performance.now() - page.readAt) / 1000);
        }
        await sleep(retryMs, undefined, { signal }).catch(() => {});
      }
    }
    return [];
  }

  /** Waits until there is something to read, tidying up meanwhile. */
  async #next(cursor: Cursor, signal: AbortSignal, onWhole: () => void): Promise<Cursor> {
    let untidy = await this.#sweep(cursor);
    while (!signal.aborted) {
      this.#hinted = false;
      await this.#rebuildCaptures();
      const { waiting, lastId } = await poll(this.#query, cursor);
      if (waiting) {
        const waitMs = await this.#windows.take(1);
        if (waitMs === 0) return (await advance(this.#query, cursor, lastId)) ?? reload(this.#query);
        await sleep(waitMs, undefined, { signal }).catch(() => {});
        continue;
      }
      this.#options.meter.set("bridgeLagSeconds", 0);
      onWhole();
      if (untidy) untidy = await this.#sweep(cursor);
      else await this.#idle(signal);
    }
    return cursor;
  }

  async #idle(signal: AbortSignal): Promise<void> {
    if (this.#hinted) return;
    const { promise, resolve } = Promise.withResolvers<void>();
    const timer = setTimeout(resolve, this.#options.pollMs ?? 100);
    this.#wake = resolve;
    const stop = () => resolve();
    signal.addEventListener("abort", stop);
    await promise;
    signal.removeEventListener("abort", stop);
    clearTimeout(timer);
    this.#wake = undefined;
  }

  /** Tables are altered now and then, and nothing tells us. */
  async #rebuildCaptures(): Promise<void> {
    if (performance.now() - this.#rebuiltAt < REBUILD_EVERY_MS) return;
    this.#rebuiltAt = performance.now();
    const [row] = await this.#upkeep(this.#query("select carillon.rebuild()"), [["0"]]);
    if (row?.[0] !== "0")
      this.#options.logger.info({ rewritten: Number(row?.[0]) }, "capture functions of altered tables rewritten");
  }

  #sweep(cursor: Cursor): Promise<boolean> {
    return this.#upkeep(this.#retention.sweep(cursor), false);
  }

  /** Whoever holds a lock, or so much that is dead that a statement takes too long, must not hold up what is to be published. */
  #upkeep<T>(work: Promise<T>, otherwise: T): Promise<T> {
    return work.catch((error: unknown) => {
      this.#rarely.say("upkeep", (heldBack) =>
        this.#options.logger.warn({ err: error, heldBack }, "upkeep of the outbox failed; it is tried again later"),
      );
      return otherwise;
    });
  }

  async #tellGap(position: FencePosition, cause: GapCause, signal: AbortSignal): Promise<void> {
    this.#options.logger.warn(
      { cause, window: position[0] },
      cause === "restored"
        ? "this outbox comes from another cluster or an earlier time: what is there is published, and a gap is told"
        : "the log is ahead of the outbox, which lost its tail: a gap is told",
    );
    await this.#append([{ draft: { gap: {} }, fence: { source: FENCE_SOURCE, position } }], signal);
    signal.throwIfAborted(); // the jump must not be made without it
  }
}
