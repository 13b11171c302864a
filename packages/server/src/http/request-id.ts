import { randomUUID } from "node:crypto";
import type { IncomingHttpHeaders } from "node:http";

const SANE = /^[A-Za-z0-9_.:/+=@-]{1,128}$/;

/** The caller's `x-request-id` where it is fit for a log line, else a new one. */
export function requestIdOf(headers: IncomingHttpHeaders): string {
  const given = headers["x-request-id"];
  return typeof given === "string" && SANE.test(given) ? given : randomUUID();
}
