/**
 * Takes secrets out of what is logged or shown: fields by their name, and inside any text the credentials of URLs, bearer
 * tokens, and the `ticket` and `token` of a query. Applied to every line, so that no caller has to remember it.
 */

export const REDACTED = "[redacted]";

const SECRET_KEY = /^(?:proxy-)?authorization$|cookie|token|secret|passw|credential|api_?keys?$|private_?key|ticket$/i;
const URL_CREDENTIALS = /\b([a-z][a-z0-9+.-]{0,20}:\/\/)[^\s/@"']{1,512}@/gi;
const QUERY_SECRET = /([?&;](?:[a-z_-]{0,20}(?:ticket|token|secret|password|apikey|api_key))=)[^&\s"'#]{1,4096}/gi;
const BEARER = /\b(Bearer|Basic)\s+[A-Za-z0-9._~+/=:-]{1,4096}/gi;
const MAX_DEPTH = 6;
const MAX_ITEMS = 100;
const MAX_TEXT = 8192;

export function redactText(text: string): string {
  const bounded = text.length > MAX_TEXT ? `${text.slice(0, MAX_TEXT)}…` : text;
  return bounded
    .replace(URL_CREDENTIALS, `$1${REDACTED}@`)
    .replace(QUERY_SECRET, `$1${REDACTED}`)
    .replace(BEARER, `$1 ${REDACTED}`);
}

/** A copy that is safe to log, bounded in depth and width. */
export function redact(value: unknown, depth = 0): unknown {
  if (typeof value === "string") return redactText(value);
  if (typeof value === "bigint") return String(value);
  if (typeof value !== "object" || value === null) return value;
  if (depth >= MAX_DEPTH) return "[deeper]";
  if (value instanceof Error) return redactError(value, depth);
  if (value instanceof Date) return value;
  if (Array.isArray(value)) return value.slice(0, MAX_ITEMS).map((item) => redact(item, depth + 1));
  if (ArrayBuffer.isView(value)) return `[${value.byteLength} bytes]`;
  const result: Record<string, unknown> = {};
  for (const [key, item] of Object.entries(value).slice(0, MAX_ITEMS)) {
    result[key] = SECRET_KEY.test(key) && isText(item) ? REDACTED : redact(item, depth + 1);
  }
  return result;
}

function redactError(error: Error, depth: number): object {
  const code = (error as { code?: unknown }).code;
  return {
    type: error.name,
    message: redactText(error.message),
    ...(typeof code === "string" && { code }),
    stack: redactText(error.stack ?? ""),
    ...(error.cause !== undefined && { cause: redact(error.cause, depth + 1) }),
    ...(error instanceof AggregateError && { errors: redact(error.errors, depth + 1) }),
  };
}

/** Counts, flags and absences behind a name like `tokens` are no secrets. */
function isText(value: unknown): boolean {
  return typeof value === "string" || (typeof value === "object" && value !== null);
}
