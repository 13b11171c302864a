/**
 * A node's position in the log, and the one repair.
 *
 * Broadcasts are hints that carry the data. Whatever happens to them - lost, doubled, reordered, a subscription that silently
 * went away - shows in the arithmetic: the next number is delivered, a known one dropped, a hole read from the log, another
 * epoch or a trimmed log told as a gap. Listeners hear every entry once and in order, or a gap that leads to a position.
 */
import { CarillonError, comparePositions, type LogEntry, type Position, parseId } from "@carillon/protocol";
import type { Logger } from "./logger.ts";
import type { Meter } from "./metrics.ts";
import type { Broadcast, BusListener, Log } from "./ports.ts";
import type { Ring } from "./ring.ts";

export interface SequencerListener {
  entry(entry: LogEntry): void;
  /** Everything between what was heard last and `position` may be missing, on every channel. */
  gap(position: Position, cause: GapCause): void;
}

export type GapCause = "epoch" | "trimmed";
export type RepairCause = "start" | "hole" | "head" | "epoch" | "subscribed" | "client";

export interface SequencerOptions {
  readonly log: Pick<Log, "head" | "read">;
  readonly ring: Ring;
  readonly meter: Meter;
  readonly logger: Logger;
  /** How much recent log to load at the start, so that clients of a dead node can resume here without asking Redis each. */
  readonly preload: number;
}

const PAGE = 500;
/** Entries of broadcasts held back while the log is read; beyond it they are read from the log too. */
const MAX_HELD = 1000;
const RETRY_MIN_MS = 50;
const RETRY_MAX_MS = 1000;

interface Waiter {
  readonly target: Position;
  readonly settle: (reached: boolean) => void;
}

export class Sequencer implements BusListener {
  readonly #options: SequencerOptions;
  readonly #listeners: SequencerListener[] = [];
  readonly #waiters = new Set<Waiter>();
  readonly #begun = Promise.withResolvers<void>();
  #position: Position | undefined;
  #head: Position = { epoch: 0, n: 0 };
  #repairing = false;
  #again = false;
  #held: Broadcast[] = [];
  #heldEntries = 0;
  #stopped = false;

  constructor(options: SequencerOptions) {
    this.#options = options;
  }

  listen(listener: SequencerListener): void {
    this.#listeners.push(listener);
  }

  /** `undefined` until the log was reached for the first time. */
  get position(): Position | undefined {
    return this.#position;
  }

  /** Entries known to exist that this node has not delivered yet. */
  get behind(): number {
    const position = this.#position;
    if (position === undefined) return 0;
    return this.#head.epoch === position.epoch ? Math.max(this.#head.n - position.n, 0) : this.#head.n;
  }

  get repairing(): boolean {
    return this.#repairing;
  }

  /** Resolves once the node has a position, however long the log is away; readiness says so meanwhile. */
  async start(): Promise<void> {
    void this.#repair("start");
    await this.#begun.promise;
  }

  stop(): void {
    this.#stopped = true;
    this.#begun.resolve();
    for (const { settle } of this.#waiters) settle(false);
  }

  broadcast(broadcast: Broadcast): void {
    this.#sawHead({ epoch: broadcast.epoch, n: broadcast.first + broadcast.entries.length - 1 });
    if (this.#repairing) {
      this.#hold(broadcast);
    } else this.#apply(broadcast);
  }

  head(head: Position): void {
    this.#sawHead(head);
    const position = this.#position;
    if (position === undefined) return;
    if (head.epoch !== position.epoch) void this.#repair("epoch");
    else if (head.n > position.n) void this.#repair("head");
  }

  subscribed(): void {
    if (this.#position !== undefined) void this.#repair("subscribed");
  }

  /**
   * Resolves true once this node is at or past `target`, false when `timeoutMs` passed or another epoch began: for a client
   * that heard more elsewhere than this node has yet.
   */
  reach(target: Position, timeoutMs: number): Promise<boolean> {
    const verdict = this.#stopped ? false : this.#reached(target);
    if (verdict !== undefined) return Promise.resolve(verdict);
    void this.#repair("client");
    return new Promise((resolve) => {
      const waiter: Waiter = {
        target,
        settle: (reached) => {
          clearTimeout(timer);
          this.#waiters.delete(waiter);
          resolve(reached);
        },
      };
      const timer = setTimeout(() => waiter.settle(false), timeoutMs);
      this.#waiters.add(waiter);
    });
  }

  /** `undefined` while it can still come true. */
  #reached(target: Position): boolean | undefined {
    const position = this.#position;
    if (position === undefined || position.epoch < target.epoch) return undefined;
    if (position.epoch > target.epoch) return false;
    return position.n >= target.n ? true : undefined;
  }

  #hold(broadcast: Broadcast): void {
    if (this.#heldEntries + broadcast.entries.length > MAX_HELD) {
      this.#again = true;
      return;
    }
    this.#held.push(broadcast);
    this.#heldEntries += broadcast.entries.length;
  }

  #apply(broadcast: Broadcast): void {
    const position = this.#position;
    if (position === undefined) return;
    const last = broadcast.first + broadcast.entries.length - 1;
    // A lower epoch is a late broadcast, or a log that began anew by a clock that is behind: only the log can tell.
    if (broadcast.epoch !== position.epoch) void this.#repair("epoch");
    else if (last <= position.n) this.#options.meter.count("duplicatesDropped", broadcast.entries.length);
    else if (broadcast.first > position.n + 1) void this.#repair("hole");
    else
      for (let i = position.n + 1 - broadcast.first; i < broadcast.entries.length; i++)
        this.#deliver(broadcast.entries[i]!);
  }

  /** Reads the log from the position until nothing is missing. One at a time; a call meanwhile makes it look once more. */
  async #repair(cause: RepairCause): Promise<void> {
    if (this.#repairing) {
      this.#again = true;
      return;
    }
    this.#repairing = true;
    let retryMs = RETRY_MIN_MS;
    if (cause !== "start") this.#options.meter.count("repairs", 1, { cause });
    try {
      do {
        this.#again = false;
        try {
          if (this.#position === undefined) await this.#begin();
          while (!this.#stopped && (await this.#readOn())) retryMs = RETRY_MIN_MS;
          this.#releaseHeld();
        } catch (error) {
          if (!(error instanceof CarillonError)) this.#options.logger.error({ err: error }, "reading the log failed");
          this.#again = true;
          await delay(retryMs * (0.5 + Math.random() / 2));
          retryMs = Math.min(retryMs * 2, RETRY_MAX_MS);
        }
      } while (this.#again && !this.#stopped);
    } finally {
      this.#repairing = false;
    }
  }

  async #begin(): Promise<void> {
    const { log, ring, preload } = this.#options;
    const head = await log.head();
    let position: Position = { epoch: head.epoch, n: Math.max(head.n - preload, 0) };
    ring.reset(position);
    while (position.n < head.n) {
      const { entries } = await log.read(position, PAGE);
      const first = entries[0] === undefined ? undefined : parseId(entries[0].id);
      if (first === undefined || first.epoch !== head.epoch) break;
      if (first.n !== position.n + 1) ring.reset({ epoch: first.epoch, n: first.n - 1 });
      for (const entry of entries) ring.push(entry);
      position = parseId(entries.at(-1)!.id)!;
    }
    // An epoch that began meanwhile, or entries that were trimmed, show in the first read after this.
    if (position.n < head.n) ring.reset(head);
    this.#position = position.n < head.n ? head : position;
    this.#sawHead(this.#position);
    this.#begun.resolve();
    this.#wake();
  }

  /** Reads one page and delivers it; true while there may be more. */
  async #readOn(): Promise<boolean> {
    const from = this.#position!;
    const { entries, head } = await this.#options.log.read(from, PAGE);
    this.#options.meter.count("logReads");
    if (head.epoch === this.#head.epoch) this.#sawHead(head);
    else this.#head = head;
    for (const entry of entries) {
      this.#connect(before(entry));
      this.#deliver(entry);
    }
    if (entries.length === 0) this.#connect(head);
    this.#options.meter.count("repairedEntries", entries.length);
    return comparePositions(this.#position!, head) < 0;
  }

  /** The log goes on after `position`; whatever lies between it and here is out of reach. */
  #connect(position: Position): void {
    const here = this.#position!;
    if (position.epoch !== here.epoch) this.#tellGap(position, "epoch");
    else if (position.n !== here.n) this.#tellGap(position, "trimmed");
  }

  /** Everything older than the position falls out as known; a hole asks for another look. */
  #releaseHeld(): void {
    const held = this.#held.sort((a, b) => a.epoch - b.epoch || a.first - b.first);
    this.#held = [];
    this.#heldEntries = 0;
    for (const broadcast of held) this.#apply(broadcast);
  }

  #deliver(entry: LogEntry): void {
    this.#options.ring.push(entry);
    this.#position = { epoch: this.#position!.epoch, n: this.#position!.n + 1 };
    for (const listener of this.#listeners) listener.entry(entry);
    this.#wake();
  }

  #tellGap(position: Position, cause: GapCause): void {
    const { ring, logger } = this.#options;
    logger.warn({ cause, from: this.#position, to: position }, "part of the log is out of reach: telling a gap");
    ring.reset(position);
    this.#position = position;
    for (const listener of this.#listeners) listener.gap(position, cause);
    this.#wake();
  }

  #sawHead(head: Position): void {
    if (comparePositions(head, this.#head) > 0) this.#head = head;
  }

  #wake(): void {
    for (const { target, settle } of this.#waiters) {
      const verdict = this.#reached(target);
      if (verdict !== undefined) settle(verdict);
    }
  }
}

function before(entry: LogEntry): Position {
  const { epoch, n } = parseId(entry.id)!;
  return { epoch, n: n - 1 };
}

function delay(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
