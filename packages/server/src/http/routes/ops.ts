import { CarillonError } from "@carillon/protocol";
import type { FastifyReply } from "fastify";
import type { FastifyPluginAsyncZod } from "fastify-type-provider-zod";
import type { Exposition } from "../../ops/metrics.ts";
import { operatorsOnly } from "../callers.ts";
import type { HttpDeps } from "../deps.ts";
import { problemHeaders, problemOf } from "../problem.ts";
import { alive, problems, ready } from "../schemas.ts";

/** `/healthz`, `/readyz` and, where it isn't on a port of its own, `/metrics`. */
export function opsRoutes(deps: Pick<HttpDeps, "health" | "metrics" | "auth">): FastifyPluginAsyncZod {
  return async (app) => {
    app.get(
      "/healthz",
      { schema: { tags: ["Operate"], summary: "Whether the process works", response: { 200: alive } } },
      async (_request, reply) => reply.header("cache-control", "no-store").send({ status: "ok" }),
    );

    app.get(
      "/readyz",
      {
        schema: {
          tags: ["Operate"],
          summary: "Whether this node should get traffic",
          description:
            "503 while starting, draining, or the bus is absent or deaf; then the problem document has `checks` too.",
          response: { 200: ready, ...problems("NOT_READY", "DRAINING") },
        },
      },
      async (request, reply) => {
        const { status, checks } = await deps.health.readiness();
        reply.header("cache-control", "no-store");
        if (status !== "down") return reply.send({ status, checks });
        const down = Object.entries(checks).filter(([, check]) => check.status === "down");
        const detail = down.map(([name, check]) => `${name}: ${check.reason ?? "down"}`).join("; ");
        const error = new CarillonError(deps.health.state === "draining" ? "DRAINING" : "NOT_READY", detail);
        const body = JSON.stringify({ ...problemOf(error, request.id), checks });
        return (reply as FastifyReply).code(503).headers(problemHeaders(error)).send(body);
      },
    );

    if (deps.metrics !== undefined) metricsRoute(app, deps.metrics, [operatorsOnly(deps.auth)]);
  };
}

export function metricsRoute(
  app: Parameters<FastifyPluginAsyncZod>[0],
  metrics: Exposition,
  onRequest: ReturnType<typeof operatorsOnly>[],
): void {
  app.get(
    "/metrics",
    { onRequest, schema: { tags: ["Operate"], summary: "Figures for Prometheus", produces: ["text/plain"] } },
    async (_request, reply) => {
      const text = await metrics.text();
      return reply.headers({ "content-type": metrics.contentType, "cache-control": "no-store" }).send(text);
    },
  );
}
