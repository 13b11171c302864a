import { ClientError } from "./errors.ts";

/** Handlers of the application: one that throws, now or later, stops none of the others. */
export class Handlers<T extends readonly unknown[]> {
  readonly #handlers = new Set<(...args: T) => unknown>();
  readonly #report: (error: ClientError) => void;

  constructor(report: (error: ClientError) => void) {
    this.#report = report;
  }

  get size(): number {
    return this.#handlers.size;
  }

  add(handler: (...args: T) => unknown): () => void {
    // A function of its own: the same handler may be added twice.
    const own = (...args: T) => handler(...args);
    this.#handlers.add(own);
    return () => void this.#handlers.delete(own);
  }

  call(...args: T): void {
    for (const handler of [...this.#handlers]) void this.#guard(handler, args);
  }

  async #guard(handler: (...args: T) => unknown, args: T): Promise<void> {
    try {
      await handler(...args);
    } catch (cause) {
      this.#report(new ClientError("HANDLER_FAILED", "a handler failed", { cause }));
    }
  }
}
