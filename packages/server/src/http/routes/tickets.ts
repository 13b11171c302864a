import { CarillonError } from "@carillon/protocol";
import type { FastifyPluginAsyncZod } from "fastify-type-provider-zod";
import { z } from "zod";
import { openPrincipal } from "../../auth/open.ts";
import type { Principal } from "../../auth/principal.ts";
import { authenticated } from "../callers.ts";
import type { Caller, HttpDeps } from "../deps.ts";
import { problems } from "../schemas.ts";

const issued = z
  .object({ ticket: z.string(), expiresAt: z.string().meta({ format: "date-time" }) })
  .meta({ description: "For `?ticket=` of `/ws` and `/events`" });

/** `POST /api/tickets`: for clients that can't set a header. */
export function ticketRoutes(deps: Pick<HttpDeps, "tickets" | "auth" | "quotas">): FastifyPluginAsyncZod {
  return async (app) => {
    app.post(
      "/api/tickets",
      {
        onRequest: authenticated(deps.auth),
        schema: {
          tags: ["Connect"],
          summary: "Get a one-time ticket",
          description: "Good once, for 30 seconds, with the rights of the caller's token. Users only.",
          response: { 201: issued, ...problems("UNAUTHENTICATED", "FORBIDDEN", "RATE_LIMITED", "BUS_UNAVAILABLE") },
        },
      },
      async (request, reply) => {
        const { caller } = request;
        const principal = principalOf(caller);
        if (principal === undefined)
          throw new CarillonError("FORBIDDEN", "tickets carry a user's rights: ask with a user's token");
        await deps.quotas?.ticket(caller);
        const { ticket, expiresMs } = await deps.tickets.issue(principal);
        return reply
          .code(201)
          .header("cache-control", "no-store")
          .send({ ticket, expiresAt: new Date(expiresMs).toISOString() });
      },
    );
  };
}

/** Under `AUTH=off` whoever says who they are, and whoever doesn't is anonymous. */
function principalOf({ kind, claimed, principal }: Caller): Principal | undefined {
  return kind === "open" ? openPrincipal(claimed) : principal;
}
