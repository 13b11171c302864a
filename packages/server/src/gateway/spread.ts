/**
 * Over how many milliseconds clients should spread the refetch that a refresh asks for, so that the application's API sees at
 * most `budgetPerS` of them a second.
 *
 * The audience is the cluster's: this node counts its own and multiplies by the number of nodes, which balancers keep about
 * equal. For a refresh meant for few that is too many by at most the number of nodes, and a few milliseconds.
 */
export interface SpreadOptions {
  /** Refetches a second; `undefined`: refreshes say nothing. */
  readonly budgetPerS: number | undefined;
  /** How many nodes there are; asked now and then. */
  readonly nodes: () => Promise<number>;
}

const ASK_EVERY_MS = 5000;
/** A clock that no client should be asked to wait longer than. */
const MAX_SPREAD_MS = 3_600_000;

export class Spread {
  readonly #options: SpreadOptions;
  readonly #timer: NodeJS.Timeout | undefined;
  #nodes = 1;
  #asking = false;

  constructor(options: SpreadOptions) {
    this.#options = options;
    if (options.budgetPerS === undefined) return;
    this.#timer = setInterval(() => void this.#ask(), ASK_EVERY_MS);
    this.#timer.unref();
    setImmediate(() => void this.#ask());
  }

  stop(): void {
    clearInterval(this.#timer);
  }

  get enabled(): boolean {
    return this.#options.budgetPerS !== undefined;
  }

  /** Whole milliseconds for an audience of `local` connections on this node. */
  ms(local: number): number | undefined {
    const { budgetPerS } = this.#options;
    if (budgetPerS === undefined) return undefined;
    return Math.min(Math.ceil((local * this.#nodes * 1000) / budgetPerS), MAX_SPREAD_MS);
  }

  async #ask(): Promise<void> {
    if (this.#asking) return;
    this.#asking = true;
    try {
      this.#nodes = Math.max(await this.#options.nodes(), 1);
    } catch {
      // Redis is away: the last number is the best that is known.
    } finally {
      this.#asking = false;
    }
  }
}
