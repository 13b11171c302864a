import type { ErrorCode } from "@carillon/protocol";

/** What the server answered, or what happened to the client itself. */
export type ClientErrorCode =
  | ErrorCode
  /** No answer in time; the server may have done it all the same. */
  | "TIMEOUT"
  /** The connection ended before the answer; the server may have done it all the same. */
  | "DISCONNECTED"
  /** The client was closed, or the subscription ended. */
  | "CLOSED"
  /** As many requests wait for a connection as may. */
  | "TOO_MANY_PENDING"
  /** A handler of the application threw; see `cause`. */
  | "HANDLER_FAILED"
  /** The token source failed, and is asked again later; see `cause`. */
  | "TOKEN_SOURCE_FAILED"
  /** Messages may be missing, and the application has no `onGap` for them. */
  | "GAP_UNHANDLED";

/** Every failure that the client reports. */
export class ClientError extends Error {
  readonly code: ClientErrorCode;
  /** When to try again, where the server said so. */
  readonly retryAfterS: number | undefined;

  constructor(code: ClientErrorCode, message: string, options: { cause?: unknown; retryAfterS?: number } = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.name = "ClientError";
    this.code = code;
    this.retryAfterS = options.retryAfterS;
  }
}

/** What the same request may get an answer to later, unchanged. A test compares it with the protocol's table. */
export const RETRYABLE: ReadonlySet<ClientErrorCode> = new Set([
  "BUS_UNAVAILABLE",
  "DRAINING",
  "INTERNAL",
  "NOT_READY",
  "RATE_LIMITED",
  "REQUEST_TIMEOUT",
  "TOO_MANY_CONNECTIONS",
  "TOO_MANY_LISTEN_CHANNELS",
  "TOO_SLOW",
]);
