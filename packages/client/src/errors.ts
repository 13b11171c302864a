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
  /** Messages may be missing, and the subscription has no `onGap`. */
  | "GAP_UNHANDLED";

/** Every failure that the client reports. */
export class ClientError extends Error {
  override readonly name = "ClientError";
  readonly code: ClientErrorCode;
  /** When to try again, where the server said so. */
  readonly retryAfterS: number | undefined;

  constructor(code: ClientErrorCode, message: string, options: { cause?: unknown; retryAfterS?: number } = {}) {
    super(message, options);
    this.code = code;
    this.retryAfterS = options.retryAfterS;
  }
}

/** Refusals of a room or a subscription that asking again later helps; the others stay what they are. */
export const RETRYABLE: readonly ClientErrorCode[] = [
  "BUS_UNAVAILABLE",
  "INTERNAL",
  "RATE_LIMITED",
  "TOO_MANY_LISTEN_CHANNELS",
];

export function closed(): ClientError {
  return new ClientError("CLOSED", "client closed");
}
