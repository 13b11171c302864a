/** The HTTP side of a node. Sockets are the gateway's, which attaches to the same server. */
import type { ServerOptions } from "node:http";
import { CarillonError } from "@carillon/protocol";
import cors from "@fastify/cors";
import { type FastifyInstance, fastify, LogController } from "fastify";
import { consoleRoutes } from "../console/routes.ts";
import { demoRoutes } from "../demo/routes.ts";
import { isUpgrade } from "../gateway/io-server.ts";
import type { TrustProxy } from "../settings/load.ts";
import { VERSION } from "../version.ts";
import { readJsonBodies } from "./body.ts";
import type { HttpDeps } from "./deps.ts";
import { Failures } from "./failures.ts";
import { RouteMethods } from "./methods.ts";
import { describeApi, serveApiDescription } from "./openapi.ts";
import { isOriginAllowed } from "./origins.ts";
import { requestIdOf } from "./request-id.ts";
import { batchRoutes } from "./routes/batch.ts";
import { clusterRoutes } from "./routes/cluster.ts";
import { connectRoutes } from "./routes/connect.ts";
import { connectionRoutes } from "./routes/connections.ts";
import { deviceRoutes } from "./routes/devices.ts";
import { historyRoutes } from "./routes/history.ts";
import { inboxRoutes } from "./routes/inbox.ts";
import { notifyRoutes } from "./routes/notify.ts";
import { metricsRoute, opsRoutes } from "./routes/ops.ts";
import { presenceRoutes } from "./routes/presence.ts";
import { publishRoutes } from "./routes/publish.ts";
import { pushRoutes } from "./routes/push.ts";
import { ticketRoutes } from "./routes/tickets.ts";
import { validatorCompiler } from "./validation.ts";

/** Time for a whole request to arrive: a client that sends a byte a minute holds a socket no longer than this. */
const REQUEST_TIMEOUT_MS = 30_000;
/** Longer than nginx keeps an idle upstream connection (60 s), so that it is never ours that closes first. */
const KEEP_ALIVE_MS = 75_000;

/** Nothing listens yet; `await app.ready()` or `app.listen()` finishes the set-up. */
export function buildHttp(deps: HttpDeps): FastifyInstance {
  const hasSockets = deps.streams !== undefined && deps.settings.wsPort === undefined;
  const { app, failures } = bareApp(deps, hasSockets ? { shouldUpgradeCallback: isUpgrade } : {});
  const { corsOrigins } = deps.settings;
  if (corsOrigins.length > 0) {
    const everyone = corsOrigins.includes("*");
    void app.register(cors, {
      origin: everyone ? "*" : [...corsOrigins],
      // A page that anybody may write must not act with the visitor's cookies.
      credentials: !everyone,
      methods: ["GET", "HEAD", "POST", "PUT", "DELETE"],
      exposedHeaders: ["x-request-id", "retry-after"],
      maxAge: 600,
      strictPreflight: false,
    });
  }
  // After the plugin above, so that refusals carry its headers and pages can read them.
  app.after(() => {
    app.addHook("onRequest", async (request) => {
      const safe = ["GET", "HEAD", "OPTIONS"].includes(request.method);
      if (safe || isOriginAllowed(request.headers.origin, request.host, corsOrigins)) return;
      throw new CarillonError("FORBIDDEN", "pages of this Origin may not call here; CORS_ORIGINS lists those that may");
    });
  });
  describeApi(app, VERSION);
  void app.register(async (scope) => {
    void scope.register(publishRoutes(deps));
    void scope.register(batchRoutes(deps, (error, request) => failures.refused(error, request)));
    void scope.register(historyRoutes(deps));
    void scope.register(notifyRoutes(deps));
    void scope.register(inboxRoutes(deps));
    void scope.register(deviceRoutes(deps));
    void scope.register(pushRoutes(deps));
    void scope.register(connectionRoutes(deps));
    void scope.register(ticketRoutes(deps));
    void scope.register(presenceRoutes(deps));
    void scope.register(clusterRoutes(deps));
    void scope.register(connectRoutes(deps));
    void scope.register(opsRoutes(deps));
    serveApiDescription(scope, deps, VERSION);
    void scope.register(consoleRoutes(deps));
    void scope.register(demoRoutes(deps));
  });
  return app;
}

/** `/metrics` alone, for `METRICS_PORT`. */
export function buildMetricsHttp(
  deps: Pick<HttpDeps, "logger" | "meter" | "health"> & Required<Pick<HttpDeps, "metrics">>,
): FastifyInstance {
  const limits = { headerBytes: 16_384, headersTimeoutMs: 10_000 };
  const { app } = bareApp({ ...deps, settings: { trustProxy: false, limits } });
  metricsRoute(app.withTypeProvider(), deps.metrics, []);
  return app;
}

type BareDeps = Pick<HttpDeps, "logger" | "meter"> & {
  readonly settings: Pick<HttpDeps["settings"], "trustProxy" | "limits">;
};

function bareApp(
  deps: BareDeps,
  upgrades: Pick<ServerOptions, "shouldUpgradeCallback"> = {},
): { app: FastifyInstance; failures: Failures } {
  const methods = new RouteMethods();
  const failures = new Failures(deps.logger, deps.meter, methods);
  const app: FastifyInstance = fastify({
    loggerInstance: deps.logger,
    logController: new LogController({ disableRequestLogging: true, requestIdLogLabel: "requestId" }),
    genReqId: (request) => requestIdOf(request.headers),
    requestIdHeader: false,
    trustProxy: trusted(deps.settings.trustProxy),
    requestTimeout: REQUEST_TIMEOUT_MS,
    keepAliveTimeout: KEEP_ALIVE_MS,
    http: { ...httpLimits(deps.settings.limits), ...upgrades },
    // Its answer is not a problem document; the hook below gives ours.
    return503OnClosing: false,
    // Names that are too long are told so by the validators; Fastify would say 404.
    routerOptions: { maxParamLength: 16_384 },
    frameworkErrors: (error, request, reply) => void failures.send(error, request, reply),
    clientErrorHandler: (error, socket) => failures.clientError(error, socket),
  });
  app.decorateRequest("caller");
  app.addHook("onRoute", ({ url, method }) => methods.add(url, [method].flat()));
  app.setValidatorCompiler(validatorCompiler as never);
  app.setSerializerCompiler(() => (data) => JSON.stringify(data));
  readJsonBodies(app);
  failures.install(app);

  let closing = false;
  app.addHook("preClose", async () => {
    closing = true;
  });
  app.addHook("onRequest", async (request, reply) => {
    reply.headers({ "x-request-id": request.id, "x-content-type-options": "nosniff" });
    if (closing) throw new CarillonError("DRAINING");
    // Here, before a body of any kind is looked at: what isn't there is 404 whatever it is sent.
    if (request.is404) throw methods.refusal(request.method, request.url);
  });
  app.addHook("onResponse", async (request, reply) => {
    const { method, id: requestId, ip } = request;
    const ms = Math.round(reply.elapsedTime * 10) / 10;
    deps.logger.debug(
      { requestId, method, route: request.routeOptions.url, status: reply.statusCode, ms, ip },
      "request",
    );
  });
  return { app, failures };
}

/** For every server of this node that the outside reaches. */
export function httpLimits({ headerBytes, headersTimeoutMs }: HttpDeps["settings"]["limits"]): HttpLimits {
  return {
    maxHeaderSize: headerBytes,
    headersTimeout: headersTimeoutMs,
    // How late the node notices; its default is half a minute.
    connectionsCheckingInterval: Math.min(headersTimeoutMs, 2000),
  };
}

interface HttpLimits {
  readonly maxHeaderSize: number;
  readonly headersTimeout: number;
  readonly connectionsCheckingInterval: number;
}

/** Fastify trusts no peer for a number alone, since one that reaches the port directly can forge the hops; the setting says so. */
function trusted(setting: TrustProxy): Exclude<TrustProxy, number> | ((address: string, hop: number) => boolean) {
  return typeof setting === "number" ? (_address, hop) => hop < setting : setting;
}
