import type { Logger, Roster } from "@carillon/core";

export interface ReporterOptions {
  readonly roster: Roster;
  readonly record: () => string | Promise<string>;
  readonly everyMs: number;
  readonly logger: Logger;
}

/** Repeats this node's record in a roster. While the store is away nothing waits: the next record is newer anyway. */
export class Reporter {
  readonly #options: ReporterOptions;
  #timer: NodeJS.Timeout | undefined;
  #saying: Promise<void> | undefined;

  constructor(options: ReporterOptions) {
    this.#options = options;
  }

  start(): void {
    this.#timer = setInterval(() => this.say(), this.#options.everyMs);
    this.say();
  }

  /** Now, because something changed. */
  say(): void {
    this.#saying ??= this.#say().finally(() => {
      this.#saying = undefined;
    });
  }

  /** Takes the record away, so that nobody waits for its time to be over. */
  async stop(): Promise<void> {
    clearInterval(this.#timer);
    await this.#saying;
    await this.#options.roster.leave();
  }

  async #say(): Promise<void> {
    const { roster, record, logger } = this.#options;
    try {
      await roster.say(await record());
    } catch (error) {
      logger.debug({ err: error }, "a report could not be made, trying again");
    }
  }
}
