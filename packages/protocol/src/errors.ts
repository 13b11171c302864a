/**
 * Every expected failure of the product, in one table. The edges (HTTP, acks, close codes) map from here and nowhere else;
 * `docs/errors.md` lists exactly these codes, which a test checks.
 */

interface ErrorKind {
  /** HTTP status at the REST edge. */
  readonly status: number;
  /** Whether the same request can succeed later without being changed. */
  readonly retryable: boolean;
  /** WebSocket close code, for failures that end a connection: 40xx stay away, 41xx come back later, 42xx come back now. */
  readonly closeCode?: number;
  readonly title: string;
}

export const ERRORS = {
  INVALID_JSON: { status: 400, retryable: false, title: "The body is not valid JSON" },
  BAD_REQUEST: { status: 400, retryable: false, title: "Not a request that HTTP allows" },
  INVALID_REQUEST: { status: 422, retryable: false, title: "The request does not have the documented shape" },
  INVALID_CHANNEL: { status: 422, retryable: false, title: "Not a channel name" },
  INVALID_ROOM: { status: 422, retryable: false, title: "Not a room name" },
  INVALID_SCOPE: { status: 422, retryable: false, title: "Not a scope" },
  INVALID_ID: { status: 422, retryable: false, title: "Not a user, role, tenant or installation id" },
  UNKNOWN_NAMESPACE: { status: 404, retryable: false, title: "No such refresh namespace" },
  UNKNOWN_EVENT: { status: 422, retryable: false, title: "No such event" },
  PAYLOAD_TOO_LARGE: { status: 413, retryable: false, closeCode: 1009, title: "The payload is too large" },
  UNSUPPORTED_MEDIA_TYPE: { status: 415, retryable: false, title: "The Content-Type header must be application/json" },
  IDEMPOTENCY_KEY_REUSED: { status: 422, retryable: false, title: "The Idempotency-Key was used with another body" },
  UNAUTHENTICATED: { status: 401, retryable: false, closeCode: 4001, title: "Authentication is missing or wrong" },
  TOKEN_EXPIRED: { status: 401, retryable: false, closeCode: 4002, title: "The token has expired" },
  REVOKED: { status: 401, retryable: false, closeCode: 4003, title: "The token has been revoked" },
  FORBIDDEN: { status: 403, retryable: false, closeCode: 4004, title: "Not allowed" },
  NOT_FOUND: { status: 404, retryable: false, title: "No such resource" },
  METHOD_NOT_ALLOWED: { status: 405, retryable: false, title: "The method is not allowed here" },
  INGRESS_DISABLED: { status: 403, retryable: false, title: "This deployment does not take publications this way" },
  REQUEST_TIMEOUT: { status: 408, retryable: true, title: "The request took too long to arrive" },
  HEADERS_TOO_LARGE: { status: 431, retryable: false, title: "The request's headers are too large" },
  TOO_MANY_SUBSCRIPTIONS: { status: 429, retryable: false, title: "Too many subscriptions on this connection" },
  TOO_MANY_ROOMS: { status: 429, retryable: false, title: "Too many rooms on this connection" },
  TOO_MANY_LISTEN_CHANNELS: { status: 429, retryable: true, title: "Too many Postgres channels are in use" },
  TOO_MANY_CONNECTIONS: { status: 503, retryable: true, closeCode: 4101, title: "Too many connections" },
  RATE_LIMITED: { status: 429, retryable: true, closeCode: 4102, title: "Too many requests" },
  DRAINING: { status: 503, retryable: true, closeCode: 4202, title: "This node is leaving service" },
  NOT_READY: { status: 503, retryable: true, closeCode: 4103, title: "This node is not ready yet" },
  BUS_UNAVAILABLE: {
    status: 503,
    retryable: true,
    title: "The bus is unavailable: not acknowledged, retry with the same Idempotency-Key",
  },
  DATABASE_UNAVAILABLE: {
    status: 503,
    retryable: true,
    title: "Postgres is unavailable: not acknowledged, retry with the same Idempotency-Key",
  },
  NOT_CONFIGURED: { status: 501, retryable: false, title: "This deployment lacks settings that the call needs" },
  INTERNAL: { status: 500, retryable: true, title: "Internal error" },
} as const satisfies Record<string, ErrorKind>;

export type ErrorCode = keyof typeof ERRORS;

/** An expected failure. `message` is for the caller and never contains a secret or an internal detail. */
export class CarillonError extends Error {
  readonly code: ErrorCode;
  /** When to try again, in seconds, where the failure is retryable and a time is known. */
  readonly retryAfterS: number | undefined;

  constructor(code: ErrorCode, message?: string, options: { retryAfterS?: number; cause?: unknown } = {}) {
    super(message ?? ERRORS[code].title, options.cause === undefined ? undefined : { cause: options.cause });
    this.name = "CarillonError";
    this.code = code;
    this.retryAfterS = options.retryAfterS;
  }

  get kind(): ErrorKind {
    return ERRORS[this.code];
  }
}
