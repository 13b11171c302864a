/** `/demo`: a page that shows what arrives, and under `AUTH=off` the buttons that make something happen. */
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { CarillonError } from "@carillon/protocol";
import type { FastifyPluginAsyncZod } from "fastify-type-provider-zod";
import { z } from "zod";
import { authenticated, demand, operatorsOnly } from "../http/callers.ts";
import type { Examples, HttpDeps } from "../http/deps.ts";
import { COMMON_STYLE, HTML, SCRIPT, STOCK_CLIENT, STYLE, serveFiles } from "../http/pages.ts";

type Deps = Pick<HttpDeps, "demo" | "auth" | "publisher" | "settings" | "push">;

const PAGE = fileURLToPath(new URL("./page/", import.meta.url));
const FILES = [
  { url: "/demo", file: join(PAGE, "index.html"), type: HTML },
  { url: "/demo/common.css", file: COMMON_STYLE, type: STYLE },
  { url: "/demo/demo.css", file: join(PAGE, "demo.css"), type: STYLE },
  { url: "/demo/demo.js", file: join(PAGE, "demo.js"), type: SCRIPT },
  { url: "/demo/inbox.js", file: join(PAGE, "inbox.js"), type: SCRIPT },
  { url: "/demo/socket.io.js", file: STOCK_CLIENT, type: SCRIPT },
];

/** What the page subscribes to beside the namespaces. */
const CHANNELS = ["chat", "orders"];
const DEFAULT_TEXT = "Hello from the demo page";
const MAX_TEXT = 500;

const chatBody = z.object({ text: z.string().trim().min(1).max(MAX_TEXT).default(DEFAULT_TEXT) }).nullish();

export function demoRoutes(deps: Deps): FastifyPluginAsyncZod {
  return async (app) => {
    const hidden = { hide: true } as object;
    const onRequest = operatorsOnly(deps.auth);
    serveFiles(app, FILES, { onRequest, wsPort: () => gatewayPort(deps) });

    app.get("/demo/config", { onRequest, schema: hidden }, async (_request, reply) => {
      return reply.header("cache-control", "no-store").send({
        namespaces: shownNamespaces(deps.settings.namespaces),
        channels: CHANNELS,
        wsPort: gatewayPort(deps) ?? null,
        buttons: deps.demo !== undefined,
        inbox: deps.demo !== undefined && deps.push !== undefined,
      });
    });

    if (deps.demo !== undefined) buttons(app, deps, deps.demo.examples);
  };
}

function buttons(app: Parameters<FastifyPluginAsyncZod>[0], deps: Deps, examples: Examples | undefined): void {
  const onRequest = authenticated(deps.auth);
  const tags = ["Demo"];

  app.post(
    "/demo/orders",
    { onRequest, schema: { tags, summary: "Insert a row into the example table orders" } },
    async (request, reply) => {
      demand(request.caller, "publish", "orders");
      return reply.code(201).send(await tables(examples).insertOrder());
    },
  );

  app.post(
    "/demo/chat-messages",
    { onRequest, schema: { tags, summary: "Insert a row into the example table chat_messages", body: chatBody } },
    async (request, reply) => {
      demand(request.caller, "publish", "chat");
      return reply.code(201).send(await tables(examples).insertChatMessage(request.body?.text ?? DEFAULT_TEXT));
    },
  );

  app.post(
    "/demo/trips/approve",
    { onRequest, schema: { tags, summary: "Refresh /trips with TRIP_APPROVED" } },
    async (request, reply) => {
      const [channel = "trips"] = shownNamespaces(deps.settings.namespaces);
      demand(request.caller, "refresh", channel);
      const id = await deps.publisher.publish({ channel, scope: "TRIP_APPROVED" }, { ingress: "rest" });
      return reply.code(202).send({ id, channel });
    },
  );
}

/** `trips` first, since the button refreshes it; otherwise what there is. */
function shownNamespaces(namespaces: readonly string[]): string[] {
  const usual = ["trips", "notifications"].filter((name) => namespaces.includes(name));
  return usual.length > 0 ? usual : namespaces.slice(0, 2);
}

function tables(examples: Examples | undefined): Examples {
  if (examples === undefined)
    throw new CarillonError("NOT_CONFIGURED", "this node has no DATABASE_URL, so there is no table to write to");
  return examples;
}

function gatewayPort(deps: Deps): number | undefined {
  return deps.demo?.wsPort?.() ?? deps.settings.wsPort;
}
