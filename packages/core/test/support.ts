import type { Draft, JsonText, LogEntry, Position } from "@carillon/protocol";
import { vi } from "vitest";
import type { Labels, Lease, Log, Meter, MetricKey } from "../src/index.ts";

/** Bounded; the condition throws while it isn't met. */
export function eventually(condition: () => void | Promise<void>, timeout = 5_000): Promise<void> {
  return vi.waitFor(condition, { timeout, interval: 2 });
}

export interface CountingMeter extends Meter {
  /** The sum over all labels, or of those that have these. */
  sum(key: MetricKey, labels?: Labels): number;
}

export function countingMeter(): CountingMeter {
  const counts: { key: MetricKey; by: number; labels: Labels }[] = [];
  return {
    count: (key, by = 1, labels = {}) => counts.push({ key, by, labels }),
    set() {},
    observe() {},
    sum: (key, labels = {}) =>
      counts
        .filter(
          (count) => count.key === key && Object.entries(labels).every(([name, value]) => count.labels[name] === value),
        )
        .reduce((total, { by }) => total + by, 0),
  };
}

export function message(channel: string, value: unknown = null): Draft {
  return { channel, payload: JSON.stringify(value) as JsonText };
}

export function entry(epoch: number, n: number, channel = "chat"): LogEntry {
  return { ...message(channel, n), id: `${epoch}-${n}`, timestampMs: n };
}

export function gapEntry(epoch: number, n: number, channels?: string[]): LogEntry {
  return { gap: channels === undefined ? {} : { channels }, id: `${epoch}-${n}`, timestampMs: n };
}

/** Entries `from` to `to`, both counted. */
export function entries(epoch: number, from: number, to: number): LogEntry[] {
  return Array.from({ length: Math.max(to - from + 1, 0) }, (_, i) => entry(epoch, from + i));
}

/** A log that can be trimmed, begun anew and made to fail, and that answers as late as one over a network. */
export class ScriptedLog implements Pick<Log, "head" | "read"> {
  epoch = 1;
  entries: LogEntry[] = [];
  n = 0;
  reads = 0;
  /** Rejects while it returns an error. */
  fault: () => Error | undefined = () => undefined;
  /** Awaited before each answer, and after it was made. */
  late: () => Promise<unknown> = () => Promise.resolve();
  /** At most so many entries a page, whatever was asked for. */
  maxPage = Number.POSITIVE_INFINITY;

  append(count = 1, channel = "chat"): LogEntry[] {
    const fresh = Array.from({ length: count }, (_, i) => entry(this.epoch, this.n + 1 + i, channel));
    this.n += count;
    this.entries.push(...fresh);
    return fresh;
  }

  trim(keep: number): void {
    this.entries = this.entries.slice(Math.max(this.entries.length - keep, 0));
  }

  restart(epoch = this.epoch + 1): void {
    this.epoch = epoch;
    this.entries = [];
    this.n = 0;
  }

  async head(): Promise<Position> {
    return this.#answer(() => ({ epoch: this.epoch, n: this.n }));
  }

  async read(after: Position, limit: number): Promise<{ entries: LogEntry[]; head: Position }> {
    this.reads++;
    return this.#answer(() => {
      const oldest = this.n - this.entries.length;
      const from = after.epoch === this.epoch ? Math.max(after.n - oldest, 0) : 0;
      const page = this.entries.slice(from, from + Math.min(limit, this.maxPage));
      return { entries: page, head: { epoch: this.epoch, n: this.n } };
    });
  }

  async #answer<T>(make: () => T): Promise<T> {
    await this.late();
    const fault = this.fault();
    if (fault !== undefined) throw fault;
    const answer = make();
    await this.late();
    return answer;
  }
}

/** A lease that the test gives and takes. */
export class SwitchableLease implements Lease {
  held = false;
  steppedDown = 0;
  onStepDown: () => void = () => {};
  readonly #listeners: ((held: boolean) => void)[] = [];

  onChange(listener: (held: boolean) => void): void {
    this.#listeners.push(listener);
  }

  stepDown(): void {
    this.steppedDown++;
    this.onStepDown();
  }

  giveWay(): void {}

  set(held: boolean): void {
    if (held === this.held) return;
    this.held = held;
    for (const listener of this.#listeners) listener(held);
  }
}
