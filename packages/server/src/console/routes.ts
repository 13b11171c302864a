/**
 * `/console`: a page over `/api/nodes` and `/api/channels`.
 *
 * The page holds nothing and is given to any browser that goes there, since a browser can't send a token with that; it asks for one
 * itself. All that it shows is for operators only, and so is the page to whatever isn't a browser.
 */
import { fileURLToPath } from "node:url";
import type { FastifyPluginAsyncZod } from "fastify-type-provider-zod";
import { operatorsOnly } from "../http/callers.ts";
import type { HttpDeps } from "../http/deps.ts";
import { COMMON_STYLE, HTML, type PageFile, SCRIPT, STOCK_CLIENT, STYLE, serveFiles } from "../http/pages.ts";

const file = (name: string) => fileURLToPath(new URL(`./page/${name}`, import.meta.url));
const script = (name: string): PageFile => ({ url: `/console/${name}`, file: file(name), type: SCRIPT });
const PAGE = { url: "/console", file: file("index.html"), type: HTML };
const PARTS = [
  { url: "/console/common.css", file: COMMON_STYLE, type: STYLE },
  { url: "/console/console.css", file: file("console.css"), type: STYLE },
  ...["console.js", "api.js", "plots.js", "tables.js", "tail.js"].map(script),
  { url: "/console/socket.io.js", file: STOCK_CLIENT, type: SCRIPT },
];

export function consoleRoutes(deps: Pick<HttpDeps, "auth" | "settings" | "demo">): FastifyPluginAsyncZod {
  return async (app) => {
    const wsPort = () => deps.demo?.wsPort?.() ?? deps.settings.wsPort;
    const onRequest = operatorsOnly(deps.auth);
    serveFiles(app, [PAGE], {
      wsPort,
      onRequest: async (request) => {
        if (request.headers.accept?.includes("text/html") !== true) await onRequest(request);
      },
    });
    serveFiles(app, PARTS, { wsPort });
    app.get("/console/config", { onRequest, schema: { hide: true } as object }, async (_request, reply) => {
      return reply.header("cache-control", "no-store").send({ wsPort: wsPort() ?? null });
    });
  };
}
