/** The only body that is read: UTF-8 JSON, bounded in size and depth, its numbers kept digit for digit. */
import { CarillonError, parseJson } from "@carillon/protocol";
import type { FastifyInstance, FastifyRequest } from "fastify";

/** For whitespace and the members around a payload. */
const MARGIN_BYTES = 16_384;
const AUDIENCE_BYTES = 2_097_152;
export const BATCH_BYTES = 4_194_304;

export interface BodyLimits {
  /** A payload alone. Pretty-printed JSON is up to four times as long as the compact text that the setting counts. */
  readonly payload: number;
  /** A payload and whom it is for. */
  readonly refresh: number;
  readonly batch: number;
}

export function bodyLimits(maxPayloadBytes: number): BodyLimits {
  const payload = 4 * maxPayloadBytes + MARGIN_BYTES;
  return { payload, refresh: payload + AUDIENCE_BYTES, batch: Math.max(BATCH_BYTES, payload + AUDIENCE_BYTES) };
}

export function readJsonBodies(app: FastifyInstance): void {
  app.removeAllContentTypeParsers();
  app.addContentTypeParser("application/json", { parseAs: "buffer" }, (request, body, done) => {
    try {
      done(null, parseBody(request, body as Buffer));
    } catch (error) {
      done(error as Error);
    }
  });
}

/** As a `preValidation` hook: a request without any body would otherwise pass as `null`. */
export async function requireBody(request: FastifyRequest): Promise<void> {
  if (request.body !== undefined) return;
  throw new CarillonError(
    "INVALID_JSON",
    "the body is empty; send JSON with the header Content-Type: application/json",
  );
}

/** As a `preValidation` hook: nothing is as good as `{}`. */
export async function optionalBody(request: FastifyRequest): Promise<void> {
  request.body ??= {};
}

function parseBody(request: FastifyRequest, body: Buffer): unknown {
  const charset = /;\s*charset\s*=\s*"?([^";\s]*)/i.exec(request.headers["content-type"] ?? "")?.[1];
  if (charset !== undefined && !/^utf-?8$/i.test(charset)) {
    throw new CarillonError("UNSUPPORTED_MEDIA_TYPE", "the Content-Type header must be application/json, in UTF-8");
  }
  const encoding = request.headers["content-encoding"];
  if (encoding !== undefined && encoding.toLowerCase() !== "identity") {
    throw new CarillonError(
      "UNSUPPORTED_MEDIA_TYPE",
      "send Content-Type: application/json without a Content-Encoding header",
    );
  }
  // Many clients send the header with every request, also where there is nothing to say.
  if (body.length === 0) return undefined;
  const text = decode(body);
  try {
    return parseJson(text);
  } catch (error) {
    if (error instanceof RangeError) throw new CarillonError("INVALID_REQUEST", error.message);
    if (error instanceof SyntaxError)
      throw new CarillonError("INVALID_JSON", `the body is not valid JSON${where(error)}`);
    throw error;
  }
}

function decode(body: Buffer): string {
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(body);
  } catch {
    throw new CarillonError("INVALID_JSON", "the body is not valid UTF-8");
  }
}

/** The engine's message quotes the body; only the place is taken from it. */
function where(error: SyntaxError): string {
  const position = /at position (\d+)/.exec(error.message)?.[1];
  if (position !== undefined) return ` at character ${Number(position) + 1}`;
  return /end of JSON|Unterminated/.test(error.message) ? ": it ends too early" : "";
}
