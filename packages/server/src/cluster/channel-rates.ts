import { isGap, type LogEntry } from "@carillon/protocol";

const WINDOW_MS = 10_000;
/** Further ones are not counted until the window ends. */
const MAX_CHANNELS = 10_000;

/**
 * Publications a second by channel, over about the last ten seconds. Every node hears every publication, so each knows the rates
 * of the whole cluster.
 */
export class ChannelRates {
  readonly #nowMs: () => number;
  #before = new Map<string, number>();
  #current = new Map<string, number>();
  #since: number;

  constructor(nowMs: () => number = () => performance.now()) {
    this.#nowMs = nowMs;
    this.#since = nowMs();
  }

  entry(entry: LogEntry): void {
    if (isGap(entry)) return;
    this.#turn();
    const count = this.#current.get(entry.channel);
    if (count !== undefined || this.#current.size < MAX_CHANNELS) this.#current.set(entry.channel, (count ?? 0) + 1);
  }

  gap(): void {}

  /** Whether no channel was left out lately because there were too many. */
  get complete(): boolean {
    this.#turn();
    return this.#current.size < MAX_CHANNELS && this.#before.size < MAX_CHANNELS;
  }

  /** Of all channels that had a publication lately. */
  perSecond(): Map<string, number> {
    this.#turn();
    const part = (this.#nowMs() - this.#since) / WINDOW_MS;
    const rates = new Map<string, number>();
    for (const [channel, count] of this.#current) rates.set(channel, count / (WINDOW_MS / 1000));
    for (const [channel, count] of this.#before) {
      rates.set(channel, (rates.get(channel) ?? 0) + (count * (1 - part)) / (WINDOW_MS / 1000));
    }
    return rates;
  }

  /** The window moves: what was counted last fades over the next one. */
  #turn(): void {
    const passed = Math.floor((this.#nowMs() - this.#since) / WINDOW_MS);
    if (passed === 0) return;
    this.#before = passed === 1 ? this.#current : new Map();
    this.#current = new Map();
    this.#since += passed * WINDOW_MS;
  }
}
