/** What the packages need of a structured logger; pino's has it. Fields first, then a sentence. Never a secret or a payload. */
export interface Logger {
  debug(fields: object, message: string): void;
  info(fields: object, message: string): void;
  warn(fields: object, message: string): void;
  error(fields: object, message: string): void;
}

export const noLogger: Logger = { debug() {}, info() {}, warn() {}, error() {} };
