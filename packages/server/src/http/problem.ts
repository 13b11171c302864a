/** RFC 9457 problem details from the one table of errors. Nothing internal gets into them. */
import { CarillonError, ERRORS, type ErrorCode } from "@carillon/protocol";

export interface Problem {
  readonly type: string;
  readonly title: string;
  readonly status: number;
  readonly detail: string;
  readonly code: ErrorCode;
  readonly requestId: string;
}

export const PROBLEM_TYPE = "application/problem+json; charset=utf-8";
const MAX_DETAIL = 1000;
const DEFAULT_RETRY_AFTER_S = 1;

export function problemOf(error: CarillonError, requestId: string): Problem {
  const { title, status } = ERRORS[error.code];
  return {
    type: `urn:carillon:error:${error.code}`,
    title,
    status,
    detail: error.message.slice(0, MAX_DETAIL),
    code: error.code,
    requestId,
  };
}

export function problemHeaders(error: CarillonError): Record<string, string> {
  const { status } = ERRORS[error.code];
  return {
    "content-type": PROBLEM_TYPE,
    "cache-control": "no-store",
    ...((status === 429 || status === 503) && {
      "retry-after": String(Math.ceil(error.retryAfterS ?? DEFAULT_RETRY_AFTER_S)),
    }),
    ...(status === 401 && { "www-authenticate": "Bearer" }),
  };
}

/** What Fastify and Node throw, in our words; anything unknown is `INTERNAL`, with the original as its cause for the log. */
export function toCarillonError(error: unknown): CarillonError {
  if (error instanceof CarillonError) return error;
  const { code, statusCode } = (typeof error === "object" && error !== null ? error : {}) as {
    code?: unknown;
    statusCode?: unknown;
  };
  switch (code) {
    case "FST_ERR_CTP_BODY_TOO_LARGE":
      return new CarillonError("PAYLOAD_TOO_LARGE", "the body is larger than this call takes");
    case "FST_ERR_CTP_INVALID_MEDIA_TYPE":
      return new CarillonError(
        "UNSUPPORTED_MEDIA_TYPE",
        "send the body with the header Content-Type: application/json",
      );
    case "FST_ERR_CTP_INVALID_CONTENT_LENGTH":
      return new CarillonError("BAD_REQUEST", "the body is shorter or longer than the Content-Length header says");
    case "FST_ERR_BAD_URL":
      return new CarillonError("BAD_REQUEST", "the URL's percent-encoding is wrong");
    case "HPE_HEADER_OVERFLOW":
      return new CarillonError("HEADERS_TOO_LARGE", "the request line and headers are too long");
    case "ERR_HTTP_REQUEST_TIMEOUT":
      return new CarillonError("REQUEST_TIMEOUT");
    default:
      break;
  }
  // What a plugin refuses (a static file's bad range, for one) and has no code of ours.
  if (typeof statusCode === "number" && statusCode >= 400 && statusCode < 500) {
    if (statusCode === 404) return new CarillonError("NOT_FOUND");
    return new CarillonError("BAD_REQUEST");
  }
  return new CarillonError("INTERNAL", ERRORS.INTERNAL.title, { cause: error });
}
