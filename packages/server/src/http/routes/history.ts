import type { HistoryPage } from "@carillon/core";
import { type Publication, parseChannel } from "@carillon/protocol";
import type { FastifyPluginAsyncZod } from "fastify-type-provider-zod";
import { authenticated, demand } from "../callers.ts";
import type { HttpDeps } from "../deps.ts";
import { channelParams, history, historyQuery, problems } from "../schemas.ts";

/** `GET /api/channels/:channel/publications`: the log's recent past, for who may subscribe. */
export function historyRoutes(deps: Pick<HttpDeps, "history" | "auth" | "settings">): FastifyPluginAsyncZod {
  const namespaces = new Set(deps.settings.namespaces);

  return async (app) => {
    app.get(
      "/api/channels/:channel/publications",
      {
        onRequest: authenticated(deps.auth),
        schema: {
          tags: ["Read"],
          summary: "What was published lately on a channel",
          description:
            "In log order. Fewer than `limit` where they are large: a page has about 1 MiB. `id` goes on from it.",
          params: channelParams,
          querystring: historyQuery,
          response: {
            200: history,
            ...problems("UNAUTHENTICATED", "FORBIDDEN", "INVALID_CHANNEL", "INVALID_REQUEST", "BUS_UNAVAILABLE"),
          },
        },
      },
      async (request, reply) => {
        const channel = parseChannel(request.params.channel, namespaces);
        const { caller } = request;
        demand(caller, "subscribe", channel);
        const { since, limit } = request.query;
        const page = await deps.history.read({ channel, since: since === "" ? undefined : since, limit, caller });
        // By hand and as text: payloads go out digit for digit as they came in.
        const text = pageJson(page, caller.may("operate"));
        return reply
          .headers({ "content-type": "application/json; charset=utf-8", "cache-control": "no-store" })
          .send(text as never);
      },
    );
  };
}

function pageJson(page: HistoryPage, withAudience: boolean): string {
  const items = page.publications.map((item) => publicationJson(item, withAudience));
  return `{"publications":[${items.join(",")}],"id":${JSON.stringify(page.id)},"gap":${page.gap}}`;
}

/** Whom else a publication was for is for operators only. */
function publicationJson(item: Publication, withAudience: boolean): string {
  const members = [`"id":${JSON.stringify(item.id)}`, `"channel":${JSON.stringify(item.channel)}`];
  if (item.scope !== undefined) members.push(`"scope":${JSON.stringify(item.scope)}`);
  if (item.payload !== undefined) members.push(`"payload":${item.payload}`);
  if (item.truncated !== undefined) members.push(`"truncated":${item.truncated}`);
  if (withAudience && item.to !== undefined) members.push(`"to":${JSON.stringify(item.to)}`);
  if (item.from !== undefined) members.push(`"from":${JSON.stringify(item.from)}`);
  members.push(`"timestamp":"${new Date(item.timestampMs).toISOString()}"`);
  return `{${members.join(",")}}`;
}
