import { ClientError } from "./errors.ts";

type Report = (error: ClientError) => void;

/** A handler of the application that never throws, now or later. */
export function guard<T extends readonly unknown[]>(handler: (...args: T) => unknown, report: Report) {
  return async (...args: T): Promise<void> => {
    try {
      await handler(...args);
    } catch (cause) {
      report(new ClientError("HANDLER_FAILED", "a handler failed", { cause }));
    }
  };
}

/** Handlers of the application: one that throws stops none of the others. */
export class Handlers<T extends readonly unknown[]> {
  readonly #handlers = new Set<(...args: T) => Promise<void>>();
  readonly #report: Report;

  constructor(report: Report) {
    this.#report = report;
  }

  get size(): number {
    return this.#handlers.size;
  }

  /** What it returns takes the handler away. The same one may be added twice. */
  add(handler: (...args: T) => unknown): () => void {
    const own = guard(handler, this.#report);
    this.#handlers.add(own);
    return () => void this.#handlers.delete(own);
  }

  call(...args: T): void {
    for (const handler of [...this.#handlers]) void handler(...args);
  }
}
