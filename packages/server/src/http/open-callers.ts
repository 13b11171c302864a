import type { IncomingHttpHeaders } from "node:http";
import { CarillonError, isPrincipalId } from "@carillon/protocol";
import type { Caller, CallerAuthenticator } from "./deps.ts";

/** `AUTH=off`: who says `X-Carillon-User` is believed, and everybody may do everything. */
export const openCallers: CallerAuthenticator = {
  caller(headers: IncomingHttpHeaders): Caller {
    const header = headers["x-carillon-user"];
    const claimed = header === undefined ? undefined : userName(header);
    return { name: claimed ?? "anonymous", kind: "open", claimed, may: () => true };
  },
};

function userName(header: string | string[]): string {
  // Node reads headers as latin1; ids are UTF-8.
  const name = Buffer.from(String(header), "latin1").toString("utf8");
  if (!isPrincipalId(name) || name.includes("\ufffd")) {
    throw new CarillonError(
      "INVALID_ID",
      "the X-Carillon-User header is 1 to 128 bytes of UTF-8 without control characters",
    );
  }
  return name;
}
