import { parsePrincipalId } from "@carillon/protocol";
import type { FastifyPluginAsyncZod } from "fastify-type-provider-zod";
import { z } from "zod";
import { operatorsOnly } from "../callers.ts";
import type { HttpDeps } from "../deps.ts";
import { problems } from "../schemas.ts";

const params = z.object({ userId: z.string().meta({ description: "`sub` of the user's tokens" }) });
const query = z.object({
  sid: z.string().optional().meta({ description: "One session of the user instead of all" }),
  reason: z.string().max(128).optional().meta({ description: "For the log" }),
});

/** `DELETE /api/users/:userId/connections`: closes them on every node and refuses what was issued before now. */
export function connectionRoutes(deps: Pick<HttpDeps, "revoke" | "auth">): FastifyPluginAsyncZod {
  return async (app) => {
    app.delete(
      "/api/users/:userId/connections",
      {
        onRequest: operatorsOnly(deps.auth),
        schema: {
          tags: ["Operate"],
          summary: "Close a user's connections and refuse their tokens",
          description: "On every node. Tokens issued before now are refused with `REVOKED`, also for new handshakes.",
          params,
          querystring: query,
          response: {
            204: z.null(),
            ...problems("UNAUTHENTICATED", "FORBIDDEN", "INVALID_ID", "BUS_UNAVAILABLE", "DATABASE_UNAVAILABLE"),
          },
        },
      },
      async (request, reply) => {
        const user = parsePrincipalId(request.params.userId);
        const { sid, reason } = request.query;
        await deps.revoke({
          user,
          ...(sid !== undefined && { sid: parsePrincipalId(sid) }),
          ...(reason !== undefined && { reason }),
        });
        return reply.code(204).send(null);
      },
    );
  };
}
