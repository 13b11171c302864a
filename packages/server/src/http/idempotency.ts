/** `Idempotency-Key`: the same key of one caller on one route within 24 h is the same publication. */
import { createHash } from "node:crypto";
import { CarillonError, canonicalJson } from "@carillon/protocol";
import type { FastifyRequest } from "fastify";

const KEY = /^[\x21-\x7e]{1,255}$/;

export interface Token {
  readonly key: string;
  readonly fingerprint: string;
}

/** `undefined` without the header. `content` is what must be equal: the validated body and what else decides the answer. */
export function tokenOf(request: FastifyRequest, content: unknown): Token | undefined {
  const header = request.headers["idempotency-key"];
  if (header === undefined) return undefined;
  if (typeof header !== "string" || !KEY.test(header)) {
    throw new CarillonError(
      "INVALID_REQUEST",
      "the Idempotency-Key header is 1 to 255 visible ASCII characters, given once",
    );
  }
  const { kind, name } = request.caller;
  return {
    key: hash(JSON.stringify([kind, name, request.routeOptions.url, header])),
    fingerprint: hash(canonicalJson(content)),
  };
}

function hash(text: string): string {
  return createHash("sha256").update(text).digest("base64url");
}
