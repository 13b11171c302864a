import { notifyBody } from "@carillon/protocol";
import type { FastifyPluginAsyncZod } from "fastify-type-provider-zod";
import { bodyLimits, requireBody } from "../body.ts";
import { authenticated, demand } from "../callers.ts";
import { type HttpDeps, needsPostgres, notificationsOf } from "../deps.ts";
import { tokenOf } from "../idempotency.ts";
import { idempotencyHeaders, notified, problems } from "../schemas.ts";
import { restIngress } from "./publish.ts";

/** `POST /api/notify`: an inbox entry for each user, the refreshes that tell them, and a push where nobody looks. */
export function notifyRoutes(deps: Pick<HttpDeps, "auth" | "settings" | "quotas" | "push">): FastifyPluginAsyncZod {
  return async (app) => {
    app.post(
      "/api/notify",
      {
        onRequest: [
          restIngress(deps.settings),
          authenticated(deps.auth),
          async ({ caller }) => demand(caller, "notify"),
          needsPostgres(deps),
        ],
        preValidation: requireBody,
        bodyLimit: bodyLimits(deps.settings.maxPayloadBytes).refresh,
        config: { publishes: true },
        schema: {
          tags: ["Notify"],
          summary: "Notify users",
          description:
            "Stores an inbox entry for each user, refreshes `/notifications` with `payload: {eventId}` (and the namespace of its type, by `NOTIFY_ROUTES`), and pushes to the devices that do not report it as seen in time: all of it or nothing.",
          headers: idempotencyHeaders,
          body: notifyBody,
          response: {
            202: notified,
            ...problems(
              "INVALID_JSON",
              "UNAUTHENTICATED",
              "FORBIDDEN",
              "INGRESS_DISABLED",
              "PAYLOAD_TOO_LARGE",
              "UNSUPPORTED_MEDIA_TYPE",
              "INVALID_REQUEST",
              "IDEMPOTENCY_KEY_REUSED",
              "RATE_LIMITED",
              "INVALID_SCOPE",
              "INVALID_ID",
              "DATABASE_UNAVAILABLE",
              "NOT_CONFIGURED",
            ),
          },
        },
      },
      async (request, reply) => {
        await deps.quotas?.publish(request.caller);
        const { userIds, push = true, ...content } = request.body;
        const notification = { ...content, push, userIds: userIds === "*" ? undefined : userIds };
        const { eventId, entries } = await notificationsOf(deps).notify(notification, tokenOf(request, request.body));
        return reply.code(202).send({ eventId, entries });
      },
    );
  };
}
