import type { ChannelName } from "@carillon/protocol";
import type { InterestRegistry, Lease, SessionRecord, Sessions } from "../ports.ts";

/** A single node holds every lease from the start. */
export class MemoryLease implements Lease {
  readonly held = true;

  onChange(listener: (held: boolean) => void): void {
    queueMicrotask(() => listener(true));
  }

  stepDown(): void {}

  giveWay(): void {}
}

/** Session records of this process, oldest dropped first beyond `max`. */
export class MemorySessions implements Sessions {
  readonly #records = new Map<string, SessionRecord>();
  readonly #max: number;

  constructor(max = 50_000) {
    this.#max = max;
  }

  async save(pid: string, record: SessionRecord): Promise<void> {
    this.#records.delete(pid);
    this.#records.set(pid, record);
    if (this.#records.size > this.#max) this.#records.delete(this.#records.keys().next().value!);
  }

  async load(pid: string): Promise<SessionRecord | undefined> {
    return this.#records.get(pid);
  }

  async touch(pids: readonly string[]): Promise<void> {
    for (const pid of pids) {
      const record = this.#records.get(pid);
      if (record !== undefined) await this.save(pid, record);
    }
  }
}

export class MemoryInterestRegistry implements InterestRegistry {
  #wanted: readonly ChannelName[] = [];
  readonly #confirmed = new Set<ChannelName>();
  readonly #onWanted: (() => void)[] = [];
  readonly #onConfirmed: ((channels: readonly ChannelName[]) => void)[] = [];

  async want(channels: readonly ChannelName[]): Promise<void> {
    this.#wanted = [...channels];
    const kept = new Set(channels);
    for (const channel of this.#confirmed) if (!kept.has(channel)) this.#confirmed.delete(channel);
    for (const listener of this.#onWanted) listener();
  }

  async wanted(): Promise<ChannelName[]> {
    return [...this.#wanted];
  }

  async confirm(channels: readonly ChannelName[]): Promise<void> {
    for (const channel of channels) this.#confirmed.add(channel);
    for (const listener of this.#onConfirmed) listener(channels);
  }

  release(): void {
    this.#confirmed.clear();
  }

  onWanted(listener: () => void): void {
    this.#onWanted.push(listener);
  }

  onConfirmed(listener: (channels: readonly ChannelName[]) => void): void {
    this.#onConfirmed.push(listener);
  }

  async confirmed(channel: ChannelName): Promise<boolean> {
    return this.#confirmed.has(channel);
  }
}
