/** Who a plain client is, by what a request for a connection carries: a ticket, a header, a cookie; under `AUTH=off` its own word. */
import type { IncomingHttpHeaders } from "node:http";
import type { TicketUse } from "@carillon/core";
import { CarillonError, parsePrincipalId } from "@carillon/protocol";
import { isBearer } from "../../auth/authenticator.ts";
import type { Authenticator, Principal } from "../../auth/principal.ts";
import type { Tickets } from "../../auth/tickets.ts";

export interface Identification {
  readonly authenticator: Authenticator;
  readonly tickets: Pick<Tickets, "redeem">;
  readonly use: TicketUse;
}

/** Throws `CarillonError`. */
export async function identify(
  query: URLSearchParams,
  headers: IncomingHttpHeaders,
  { authenticator, tickets, use }: Identification,
): Promise<Principal> {
  const ticket = query.get("ticket");
  if (ticket === null) {
    const user = headers["x-carillon-user"] ?? query.get("user");
    const roles = query.has("role") ? query.getAll("role") : undefined;
    return authenticator.authenticate({ auth: { user, roles, tenant: query.get("tenant") }, headers });
  }
  if (isBearer(headers.authorization))
    throw new CarillonError("UNAUTHENTICATED", "a ticket and an Authorization header: send one of them");
  return tickets.redeem(ticket, use);
}

/** Which installation of the application a client says that it is. Throws `INVALID_ID`. */
export function installationOf(value: unknown): string | undefined {
  return value === undefined || value === null ? undefined : parsePrincipalId(value);
}
