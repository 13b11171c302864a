import { CarillonError, refreshBody } from "@carillon/protocol";
import type { FastifyRequest } from "fastify";
import type { FastifyPluginAsyncZod } from "fastify-type-provider-zod";
import { z } from "zod";
import { bodyLimits, requireBody } from "../body.ts";
import { askingUser, authenticated, demand } from "../callers.ts";
import { type HttpDeps, notificationsOf } from "../deps.ts";
import { type DraftRules, messageDraft, notificationBeside, refreshDraft, withEventId } from "../drafts.ts";
import { tokenOf } from "../idempotency.ts";
import {
  accepted,
  channelParams,
  idempotencyHeaders,
  namespaceParams,
  PUBLISH_PROBLEMS,
  problems,
} from "../schemas.ts";

type Deps = Pick<HttpDeps, "publisher" | "auth" | "settings" | "quotas" | "push">;

/** `POST /api/notifications/:channel` and `POST /api/refresh/:namespace`: one publication a call. */
export function publishRoutes(deps: Deps): FastifyPluginAsyncZod {
  const { publisher, settings } = deps;
  const rules = draftRules(settings);
  const limits = bodyLimits(settings.maxPayloadBytes);
  // Whoever may do this on no channel at all must not make the node read a body.
  const mayAtAll =
    (action: "publish" | "refresh") =>
    async ({ caller }: FastifyRequest) =>
      demand(caller, action);
  const onRequest = [restIngress(settings), authenticated(deps.auth)];

  return async (app) => {
    app.post(
      "/api/notifications/:channel",
      {
        onRequest: [...onRequest, mayAtAll("publish")],
        preValidation: requireBody,
        bodyLimit: limits.payload,
        config: { publishes: true },
        schema: {
          tags: ["Publish"],
          summary: "Publish a message",
          description: "The body, any JSON value, is the payload.",
          params: channelParams,
          headers: idempotencyHeaders,
          body: z.unknown().meta({ examples: [{ id: 7, status: "paid" }] }),
          response: { 202: accepted, ...problems(...PUBLISH_PROBLEMS) },
        },
      },
      async (request, reply) => {
        const from = askingUser(request.caller);
        const message = messageDraft(request.params.channel, request.body, rules);
        const draft = from === undefined ? message : { ...message, from };
        demand(request.caller, "publish", draft.channel);
        await deps.quotas?.publish(request.caller);
        const token = tokenOf(request, [draft.channel, request.body]);
        const id = await publisher.publish(draft, { ingress: "rest", token });
        return reply.code(202).send({ id, channel: draft.channel });
      },
    );

    app.post(
      "/api/refresh/:namespace",
      {
        onRequest: [...onRequest, mayAtAll("refresh")],
        preValidation: requireBody,
        bodyLimit: limits.refresh,
        config: { publishes: true },
        schema: {
          tags: ["Publish"],
          summary: "Tell clients to fetch again",
          params: namespaceParams,
          headers: idempotencyHeaders,
          body: refreshBody,
          response: {
            202: accepted,
            ...problems(
              ...PUBLISH_PROBLEMS,
              "INVALID_SCOPE",
              "INVALID_ID",
              "INVALID_ROOM",
              "UNKNOWN_NAMESPACE",
              "DATABASE_UNAVAILABLE",
              "NOT_CONFIGURED",
            ),
          },
        },
      },
      async (request, reply) => {
        const draft = refreshDraft(request.params.namespace, request.body, rules);
        const notification = notificationBeside(draft, request.body);
        demand(request.caller, "refresh", draft.channel);
        if (notification !== undefined) demand(request.caller, "notify");
        await deps.quotas?.publish(request.caller);
        const token = tokenOf(request, [draft.channel, request.body]);
        const publish = (eventId?: string) =>
          publisher.publish(withEventId(draft, eventId), { ingress: "rest", token });
        const id =
          notification === undefined
            ? await publish()
            : await notificationsOf(deps).alongside([notification], token, ([eventId]) => publish(eventId));
        return reply.code(202).send({ id, channel: draft.channel });
      },
    );
  };
}

export function draftRules(settings: Deps["settings"]): DraftRules {
  return { namespaces: new Set(settings.namespaces), maxPayloadBytes: settings.maxPayloadBytes };
}

/** As a hook: refuses before anything is read where `INGRESS` leaves `rest` out. */
export function restIngress(settings: Deps["settings"]): () => Promise<void> {
  return async () => {
    if (!settings.ingress.has("rest"))
      throw new CarillonError("INGRESS_DISABLED", "INGRESS does not contain rest here");
  };
}
