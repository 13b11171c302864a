import type { FastifyPluginAsyncZod } from "fastify-type-provider-zod";
import { z } from "zod";
import { nodeRecord } from "../../cluster/node-record.ts";
import { operatorsOnly } from "../callers.ts";
import type { HttpDeps } from "../deps.ts";
import { problems, wholeNumber } from "../schemas.ts";

const MAX_PAGE = 500;

const nodes = z.object({
  nodes: z.array(nodeRecord),
  complete: z.boolean().meta({ description: "False: the bus is away, and this node answers for itself alone" }),
});

const page = z.object({
  limit: wholeNumber(1, MAX_PAGE, 50),
  offset: wholeNumber(0, 1_000_000, 0),
});

const channels = z
  .object({
    channels: z.array(z.object({ channel: z.string(), subscribers: z.number(), perSecond: z.number() })),
    total: z.number().meta({ type: "integer" }),
    complete: z.boolean().meta({
      description: "False: the bus is away, or a node has more channels than it reports. Numbers may be too low",
    }),
  })
  .meta({
    examples: [{ channels: [{ channel: "orders", subscribers: 120, perSecond: 4.2 }], total: 1, complete: true }],
  });

/** `GET /api/nodes` and `GET /api/channels`: the cluster as any of its nodes sees it. */
export function clusterRoutes(deps: Pick<HttpDeps, "cluster" | "auth">): FastifyPluginAsyncZod {
  return async (app) => {
    const onRequest = operatorsOnly(deps.auth);
    app.get(
      "/api/nodes",
      {
        onRequest,
        schema: {
          tags: ["Operate"],
          summary: "The nodes of the cluster",
          description: "Each says every 2 s how it is; one that died is gone within 10 s.",
          response: { 200: nodes, ...problems("UNAUTHENTICATED", "FORBIDDEN") },
        },
      },
      async (_request, reply) => {
        const view = await deps.cluster.nodes();
        return reply.header("cache-control", "no-store").send({ ...view, nodes: [...view.nodes] });
      },
    );

    app.get(
      "/api/channels",
      {
        onRequest,
        schema: {
          tags: ["Operate"],
          summary: "Channels with subscribers or recent publications, busiest first",
          description: "Subscribers over all nodes, at most 5 s old; publications a second over the last ten.",
          querystring: page,
          response: { 200: channels, ...problems("UNAUTHENTICATED", "FORBIDDEN", "INVALID_REQUEST") },
        },
      },
      async (request, reply) => {
        const { offset, limit } = request.query;
        const view = await deps.cluster.channels(offset, limit);
        return reply.header("cache-control", "no-store").send({ ...view, channels: [...view.channels] });
      },
    );
  };
}
