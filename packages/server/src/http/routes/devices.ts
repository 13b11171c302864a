import { deviceBody, parsePrincipalId } from "@carillon/protocol";
import type { FastifyPluginAsyncZod } from "fastify-type-provider-zod";
import { z } from "zod";
import { requireBody } from "../body.ts";
import { authenticated, userOf } from "../callers.ts";
import { devicesOf, type HttpDeps, needsPostgres } from "../deps.ts";
import { device, problems } from "../schemas.ts";

const params = z.object({
  installationId: z
    .string()
    .meta({ description: "Of this installation of the application; 1 to 128 bytes, and random" }),
});
const PROBLEMS = ["UNAUTHENTICATED", "FORBIDDEN", "INVALID_ID", "DATABASE_UNAVAILABLE", "NOT_CONFIGURED"] as const;

/** `PUT` at every start of an application, `DELETE` at logout. */
export function deviceRoutes(deps: Pick<HttpDeps, "auth" | "push" | "quotas">): FastifyPluginAsyncZod {
  const onRequest = [authenticated(deps.auth), needsPostgres(deps)];

  return async (app) => {
    app.put(
      "/api/devices/:installationId",
      {
        onRequest,
        preValidation: requireBody,
        schema: {
          tags: ["Devices"],
          summary: "Register a device of the caller",
          description:
            "The device's whole state: what is left out is no longer so. A token, or an installation, that was another user's is the caller's from now on.",
          params,
          body: deviceBody,
          response: { 200: device, ...problems(...PROBLEMS, "INVALID_JSON", "INVALID_REQUEST", "RATE_LIMITED") },
        },
      },
      async (request, reply) => {
        const user = userOf(request.caller);
        const installationId = parsePrincipalId(request.params.installationId);
        const { sid } = request.caller.principal ?? {};
        await deps.quotas?.publish(request.caller);
        return reply.send(await devicesOf(deps).register(user, installationId, request.body, sid));
      },
    );

    app.delete(
      "/api/devices/:installationId",
      {
        onRequest,
        schema: {
          tags: ["Devices"],
          summary: "Forget a device of the caller",
          params,
          response: { 204: z.null(), ...problems(...PROBLEMS) },
        },
      },
      async (request, reply) => {
        const user = userOf(request.caller);
        await devicesOf(deps).remove(user, parsePrincipalId(request.params.installationId));
        return reply.code(204).send(null);
      },
    );
  };
}
