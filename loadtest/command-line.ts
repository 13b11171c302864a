import { type ParseArgsConfig, parseArgs } from "node:util";

/** What is wrong with a command line, for whoever typed it. */
export class UsageError extends Error {}

/** Node's `parseArgs`. Throws `UsageError`. */
export function parseOptions<const T extends ParseArgsConfig>(config: T): ReturnType<typeof parseArgs<T>> {
  try {
    return parseArgs(config);
  } catch (error) {
    throw new UsageError((error as Error).message);
  }
}

/** Throws `UsageError`: nonsense must not become NaN, with which nothing is played and nothing fails. */
export function wholeNumber(
  option: string,
  text: string,
  { least = 1, most = Number.MAX_SAFE_INTEGER }: { readonly least?: number; readonly most?: number } = {},
): number {
  const value = Number(text);
  if (text.trim() !== "" && Number.isInteger(value) && value >= least && value <= most) return value;
  const range = most === Number.MAX_SAFE_INTEGER ? `of at least ${least}` : `from ${least} to ${most}`;
  throw new UsageError(`--${option} ${text}: a whole number ${range}`);
}

/** A command line that can't be followed ends the process, with exit code 2. */
export function readOrExit<T>(read: () => T): T {
  try {
    return read();
  } catch (error) {
    if (!(error instanceof UsageError)) throw error;
    console.error(error.message);
    process.exit(2);
  }
}
