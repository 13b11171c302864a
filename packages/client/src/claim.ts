/** A room or a subscription that the server holds for this client: asked for on every connection until the last holder lets go. */
import { ClientError } from "./errors.ts";

export interface ClaimOptions {
  /** Requests that begin and end it. */
  readonly enter: string;
  readonly leave: string;
  readonly body: object;
  /** Beside the body until the first answer. */
  readonly first?: object;
}

export class Claim {
  readonly options: ClaimOptions;
  readonly ready: Promise<Record<string, unknown>>;
  ended = false;
  readonly #onEnd: (asked: boolean) => void;
  #holders = 1;
  #asked = false;
  #answered = false;
  #resolve!: (answer: Record<string, unknown>) => void;
  #reject!: (error: ClientError) => void;

  constructor(options: ClaimOptions, onEnd: (asked: boolean) => void) {
    this.options = options;
    this.#onEnd = onEnd;
    this.ready = new Promise((resolve, reject) => {
      this.#resolve = resolve;
      this.#reject = reject;
    });
    this.ready.catch(() => {}); // whoever doesn't look at it hears of failures by `onError`
  }

  /** What to ask for. */
  get body(): object {
    this.#asked = true;
    return this.#answered ? this.options.body : { ...this.options.body, ...this.options.first };
  }

  join(): this {
    this.#holders++;
    return this;
  }

  release(): void {
    if (--this.#holders === 0) this.end();
  }

  succeed(answer: Record<string, unknown>): void {
    this.#answered = true;
    this.#resolve(answer);
  }

  fail(error: ClientError): void {
    this.#reject(error);
  }

  end(): void {
    if (this.ended) return;
    this.ended = true;
    this.fail(new ClientError("CLOSED", "the subscription ended"));
    this.#onEnd(this.#asked);
  }
}
