/** How every command ends: documented, and the same for all. */
export const EXIT = { ok: 0, failure: 1, usage: 2 } as const;

/** A command could not do what it was asked; `fix` says what to do about it. Neither ever has a secret. */
export class Failure extends Error {
  override readonly name = "Failure";
  readonly fix: string | undefined;
  readonly exitCode: number;

  constructor(what: string, fix?: string, exitCode: number = EXIT.failure) {
    super(what);
    this.fix = fix;
    this.exitCode = exitCode;
  }
}

/** What was typed is wrong. */
export function usage(what: string, fix?: string): Failure {
  return new Failure(what, fix, EXIT.usage);
}

/** A driver's or fetch's reason in a line. */
export function reasonOf(error: unknown): string {
  if (error instanceof AggregateError) return [...new Set(error.errors.map(reasonOf))].join("; ");
  if (!(error instanceof Error)) return String(error);
  // fetch says "fetch failed" and keeps the reason to itself.
  if (error instanceof TypeError && error.cause !== undefined) return reasonOf(error.cause);
  return error.message || (error as NodeJS.ErrnoException).code || error.name;
}
