import swagger from "@fastify/swagger";
import swaggerUi from "@fastify/swagger-ui";
import type { FastifyInstance } from "fastify";
import { jsonSchemaTransform, jsonSchemaTransformObject } from "fastify-type-provider-zod";
import { asyncApi } from "./asyncapi.ts";
import { operatorsOnly } from "./callers.ts";
import type { HttpDeps } from "./deps.ts";

/** Everything from the node itself; the page's one inline style is the swagger page's own. */
const DOCS_CSP =
  "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; font-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/** Must be registered before the routes that it describes. */
export function describeApi(app: FastifyInstance, version: string): void {
  void app.register(swagger, {
    openapi: {
      openapi: "3.1.0",
      info: {
        title: "Carillon",
        version,
        description: "Self-hosted realtime fan-out. 202 means: in the log. Numbers in payloads travel digit for digit.",
      },
      components: {
        securitySchemes: { bearer: { type: "http", scheme: "bearer", description: "An API key or a user's token" } },
      },
      security: [{ bearer: [] }, {}],
    },
    transform: jsonSchemaTransform,
    transformObject: (document) => withoutInputTwins(jsonSchemaTransformObject(document)),
  });
}

/** Named schemas are here for answers only; the provider also describes each as an input, which nothing refers to. */
function withoutInputTwins<T extends object>(description: T): T {
  const schemas = (description as { components?: { schemas?: Record<string, unknown> } }).components?.schemas ?? {};
  for (const name of Object.keys(schemas)) if (name.endsWith("Input")) delete schemas[name];
  return description;
}

/** `/openapi.json`, `/asyncapi.json` and `/docs`. */
export function serveApiDescription(
  app: FastifyInstance,
  {
    auth,
    settings,
  }: Pick<HttpDeps, "auth"> & { readonly settings: Pick<HttpDeps["settings"], "namespaces" | "wsPort"> },
  version: string,
): void {
  const onRequest = operatorsOnly(auth);
  app.get("/openapi.json", { onRequest, schema: { hide: true } as object }, async (_request, reply) => {
    return reply.header("content-type", "application/json; charset=utf-8").send(JSON.stringify(app.swagger()));
  });
  app.get("/asyncapi.json", { onRequest, schema: { hide: true } as object }, async (request, reply) => {
    const { namespaces, wsPort } = settings;
    const host = wsPort ? `${request.hostname}:${wsPort}` : request.host;
    const description = asyncApi({ version, namespaces, host, secure: request.protocol === "https" });
    return reply.header("content-type", "application/json; charset=utf-8").send(JSON.stringify(description));
  });
  void app.register(async (docs) => {
    // Before the plugin, so that its static files are guarded too.
    docs.addHook("onRequest", onRequest);
    void docs.register(swaggerUi, {
      routePrefix: "/docs",
      staticCSP: DOCS_CSP,
      // Null switches off the badge that would send the description to a validator on the internet.
      uiConfig: { validatorUrl: null, layout: "BaseLayout", docExpansion: "list", deepLinking: true },
    });
  });
}
