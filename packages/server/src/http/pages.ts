/** What the pages of a node share: nothing from other servers, and nothing that isn't in their files. */
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import type { FastifyInstance, FastifyRequest } from "fastify";

export interface PageFile {
  readonly url: string;
  readonly file: string;
  readonly type: string;
}

export const SCRIPT = "text/javascript; charset=utf-8";
export const STYLE = "text/css; charset=utf-8";
export const HTML = "text/html; charset=utf-8";

export const COMMON_STYLE = join(import.meta.dirname, "page", "common.css");

/** The stock client, as everybody gets it from npm. */
export const STOCK_CLIENT = join(
  dirname(createRequire(import.meta.url).resolve("socket.io/package.json")),
  "client-dist",
  "socket.io.esm.min.js",
);

export interface ServePage {
  /** Who may have them; absent: anybody. */
  readonly onRequest?: (request: FastifyRequest) => Promise<void>;
  /** The port of this node's sockets, where they have one of their own. */
  readonly wsPort: () => number | undefined;
}

export function serveFiles(
  app: Pick<FastifyInstance, "get">,
  files: readonly PageFile[],
  { onRequest = async () => {}, wsPort }: ServePage,
): void {
  for (const { url, file, type } of files) {
    const content = readFileSync(file);
    app.get(url, { onRequest, schema: { hide: true } as object }, async (_request, reply) => {
      return reply
        .headers({ "content-type": type, "cache-control": "no-cache", "content-security-policy": policy(wsPort()) })
        .send(content);
    });
  }
}

function policy(wsPort: number | undefined): string {
  const gateway =
    wsPort === undefined ? "" : ` http://*:${wsPort} https://*:${wsPort} ws://*:${wsPort} wss://*:${wsPort}`;
  return `default-src 'none'; script-src 'self'; style-src 'self'; img-src data:; connect-src 'self'${gateway}; base-uri 'none'; form-action 'none'; frame-ancestors 'none'`;
}
