import { parsePrincipalId } from "@carillon/protocol";
import type { FastifyPluginAsyncZod } from "fastify-type-provider-zod";
import { z } from "zod";
import { operatorsOnly } from "../callers.ts";
import type { HttpDeps } from "../deps.ts";
import { problems } from "../schemas.ts";

const params = z.object({ userId: z.string().meta({ description: "`sub` of the user's tokens" }) });

const foreground = z.boolean().nullable().meta({ description: "Whether somebody looks at it; null: it never said" });
const clients = z.array(
  z.object({
    node: z.string().meta({ description: "The node's name, as in `ready`" }),
    installationId: z.string().optional().meta({ description: "Where the client gave one" }),
    foreground,
    since: z.string().meta({ format: "date-time" }),
  }),
);
const presence = z
  .object({
    userId: z.string(),
    online: z.boolean().meta({ description: "Whether any client is connected, on whatever node" }),
    foreground: z.boolean().meta({ description: "Whether any of them says that somebody looks at it" }),
    clients,
  })
  .meta({
    examples: [
      {
        userId: "42",
        online: true,
        foreground: true,
        clients: [{ node: "q3Zk81Xw", installationId: "phone-1", foreground: true, since: "2026-01-01T12:00:00.000Z" }],
      },
    ],
  });

/** `GET /api/presence/:userId`: where a user is connected, over all nodes. */
export function presenceRoutes(deps: Pick<HttpDeps, "presence" | "auth">): FastifyPluginAsyncZod {
  return async (app) => {
    app.get(
      "/api/presence/:userId",
      {
        onRequest: operatorsOnly(deps.auth),
        schema: {
          tags: ["Operate"],
          summary: "Where a user is connected, and whether somebody looks",
          description: "A client whose node died is gone within 10 s; one that vanished, when its heartbeat is missed.",
          params,
          response: {
            200: presence,
            ...problems("UNAUTHENTICATED", "FORBIDDEN", "INVALID_ID", "BUS_UNAVAILABLE"),
          },
        },
      },
      async (request, reply) => {
        const userId = parsePrincipalId(request.params.userId);
        const found = (await deps.presence.read([userId])).get(userId) ?? [];
        return reply.header("cache-control", "no-store").send({
          userId,
          online: found.length > 0,
          foreground: found.some((client) => client.foreground === true),
          clients: found.map(({ node, installationId, foreground: looks, sinceMs }) => ({
            node,
            ...(installationId !== undefined && { installationId }),
            foreground: looks ?? null,
            since: new Date(sinceMs).toISOString(),
          })),
        });
      },
    );
  };
}
