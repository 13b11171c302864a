import { CarillonError } from "@carillon/protocol";
import type { FastifyPluginAsyncZod } from "fastify-type-provider-zod";
import { z } from "zod";
import type { HttpDeps } from "../deps.ts";
import { problems } from "../schemas.ts";

const texts = (description: string) => z.unknown().meta({ type: "array", items: { type: "string" }, description });
const text = (description: string) => z.string().optional().meta({ description });

/** Judged by the gateway, with the codes that other clients get. */
const eventsQuery = z.object({
  channel: texts("At least one; any spelling").optional(),
  room: texts("Entity rooms; each counts for every channel named").optional(),
  since: text("An id: what came after it is sent first. The header Last-Event-ID wins over it"),
  ticket: text(
    "Of `POST /api/tickets`, for clients that can't set a header; re-opens this stream until the token ends",
  ),
  installationId: text("Which installation of the application this is"),
});

const stream = {
  description: "`event: ready`, `refresh`, `notification` or `gap`; `id:` the log id; `data:` JSON as on `/ws`",
  content: { "text/event-stream": { schema: z.string() } },
};

/** `GET /events`, and what a plain request for `/ws` is told. */
export function connectRoutes({
  streams,
  takesClients = () => true,
}: Pick<HttpDeps, "streams" | "takesClients">): FastifyPluginAsyncZod {
  return async (app) => {
    if (streams === undefined) return;
    app.addHook("onRequest", async ({ raw }) => {
      if (!takesClients(raw.socket.localPort)) throw new CarillonError("NOT_FOUND", "clients connect on WS_PORT");
    });
    app.get(
      "/events",
      {
        exposeHeadRoute: false,
        schema: {
          tags: ["Connect"],
          summary: "Hear what is published, as server-sent events",
          querystring: eventsQuery,
          response: {
            200: stream,
            ...problems(
              "UNAUTHENTICATED",
              "TOKEN_EXPIRED",
              "REVOKED",
              "FORBIDDEN",
              "INVALID_CHANNEL",
              "INVALID_ROOM",
              "INVALID_REQUEST",
              "TOO_MANY_SUBSCRIPTIONS",
              "TOO_MANY_ROOMS",
              "TOO_MANY_LISTEN_CHANNELS",
              "TOO_MANY_CONNECTIONS",
              "DRAINING",
              "NOT_READY",
            ),
          },
        },
      },
      async (request, reply) => {
        await streams.open(request.raw, reply.raw, reply.getHeaders());
        reply.hijack();
      },
    );
    app.get("/ws", { exposeHeadRoute: false, schema: { hide: true } as object }, async () => {
      throw new CarillonError("BAD_REQUEST", "this path is for WebSockets: the request must be an upgrade");
    });
  };
}
