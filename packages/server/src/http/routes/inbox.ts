import { inboxIdsBody } from "@carillon/protocol";
import type { InboxChange } from "@carillon/push";
import type { FastifyPluginAsyncZod } from "fastify-type-provider-zod";
import { requireBody } from "../body.ts";
import { authenticated, userOf } from "../callers.ts";
import { type HttpDeps, inboxOf, needsPostgres } from "../deps.ts";
import { inboxChanged, inboxCounts, inboxPage, inboxQuery, problems } from "../schemas.ts";

const OWN = ["UNAUTHENTICATED", "FORBIDDEN", "INVALID_REQUEST", "DATABASE_UNAVAILABLE", "NOT_CONFIGURED"] as const;
const NO_STORE = { "cache-control": "no-store" };
const SUMMARIES: Readonly<Record<InboxChange, string>> = {
  read: "Mark entries as read",
  unread: "Mark entries as not read",
  archive: "Archive entries",
};

/** The caller's own inbox. Whoever asks with an API key has none. Each change is a publication, and counts as one. */
export function inboxRoutes(deps: Pick<HttpDeps, "auth" | "push" | "quotas">): FastifyPluginAsyncZod {
  const onRequest = [authenticated(deps.auth), needsPostgres(deps)];
  const tags = ["Inbox"];

  return async (app) => {
    app.get(
      "/api/inbox",
      {
        onRequest,
        schema: {
          tags,
          summary: "The caller's notifications, newest first",
          querystring: inboxQuery,
          response: { 200: inboxPage, ...problems(...OWN) },
        },
      },
      async (request, reply) => {
        const user = userOf(request.caller);
        return reply.headers(NO_STORE).send(await inboxOf(deps).list(user, request.query));
      },
    );

    app.get(
      "/api/inbox/counts",
      {
        onRequest,
        schema: { tags, summary: "How many there are", response: { 200: inboxCounts, ...problems(...OWN) } },
      },
      async (request, reply) => {
        return reply.headers(NO_STORE).send(await inboxOf(deps).counts(userOf(request.caller)));
      },
    );

    for (const change of Object.keys(SUMMARIES) as InboxChange[]) {
      app.post(
        `/api/inbox/${change}`,
        {
          onRequest,
          preValidation: requireBody,
          schema: {
            tags,
            summary: SUMMARIES[change],
            description: "Ids of entries that are not the caller's change nothing.",
            body: inboxIdsBody,
            response: { 200: inboxChanged, ...problems(...OWN, "RATE_LIMITED", "INVALID_JSON") },
          },
        },
        async (request, reply) => {
          const user = userOf(request.caller);
          await deps.quotas?.publish(request.caller);
          const changed = await inboxOf(deps).change(user, change, request.body.ids);
          return reply.send({ changed });
        },
      );
    }

    app.post(
      "/api/inbox/read-all",
      {
        onRequest,
        schema: {
          tags,
          summary: "Mark all as read",
          response: { 200: inboxChanged, ...problems(...OWN, "RATE_LIMITED") },
        },
      },
      async (request, reply) => {
        const user = userOf(request.caller);
        await deps.quotas?.publish(request.caller);
        return reply.send({ changed: await inboxOf(deps).readAll(user) });
      },
    );
  };
}
