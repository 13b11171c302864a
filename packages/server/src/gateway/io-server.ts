import { type Server as HttpServer, type IncomingMessage, type ServerResponse, STATUS_CODES } from "node:http";
import type { Duplex } from "node:stream";
import { CarillonError } from "@carillon/protocol";
import { type Namespace, Server } from "socket.io";
import { Adapter } from "socket.io-adapter";
import { WebSocketServer } from "ws";
import { isOriginAllowed } from "../http/origins.ts";
import { problemHeaders, problemOf } from "../http/problem.ts";
import { requestIdOf } from "../http/request-id.ts";
import { upgradeWithoutResponse } from "./handshakes.ts";

export interface IoServerOptions {
  readonly adapter: ((namespace: Namespace) => Adapter) | undefined;
  readonly pingIntervalMs: number;
  readonly pingTimeoutMs: number;
  readonly connectTimeoutMs: number;
  readonly maxMessageBytes: number;
  readonly corsOrigins: readonly string[];
  /** The port of this node's pages, where sockets have one of their own. */
  readonly pagePort: () => number | undefined;
}

const PATH = "/socket.io/";
/** Of plain WebSockets. */
export const PLAIN_PATH = "/ws";

export function createIoServer(options: IoServerOptions): Server {
  const { corsOrigins, pagePort } = options;
  // A page that anybody may write must not act with the visitor's cookies.
  const everyone = corsOrigins.includes("*");
  const cors = ({ headers: { origin, host } }: IncomingMessage, done: (error: null, answer: object) => void) =>
    done(null, {
      origin: everyone ? "*" : origin !== undefined && isOriginAllowed(origin, host, corsOrigins, pagePort()) && origin,
      credentials: !everyone,
    });
  return new Server({
    path: PATH,
    // Named even without Redis: otherwise Socket.IO picks the adapter that appends offsets of its own.
    adapter: (options.adapter ?? Adapter) as never,
    // Makes Socket.IO give out the private session ids with which stock clients come back; restoring is ours.
    connectionStateRecovery: {},
    pingInterval: options.pingIntervalMs,
    pingTimeout: options.pingTimeoutMs,
    connectTimeout: options.connectTimeoutMs,
    maxHttpBufferSize: options.maxMessageBytes,
    // Ours, which ends a client that pings without reading the answers; the older one that Engine.IO brings holds all of them.
    wsEngine: WebSocketServer,
    perMessageDeflate: false,
    httpCompression: false,
    serveClient: true,
    cors: cors as never,
  });
}

/** Upgrades to something else than Socket.IO, at a path of its own. */
export interface OtherUpgrade {
  readonly path: string;
  readonly upgrade: (request: IncomingMessage, socket: Duplex, head: Buffer) => void;
}

export interface Gate {
  /** Why a handshake is refused just now, if it is. */
  readonly refuse: (request: IncomingMessage) => CarillonError | undefined;
  /** Whether pages of this origin may talk to us at all; browsers ask nobody before they open a WebSocket. */
  readonly allows: (request: IncomingMessage) => boolean;
}

/**
 * Attaches Socket.IO to a server with a gate before new handshakes. What a retry helps is answered with 503 on the HTTP request
 * itself, since stock clients come back from that by themselves and never from a refusal within the protocol.
 */
export function attachWithGate(
  io: Server,
  server: HttpServer,
  gate: Gate,
  sessionId?: (request: IncomingMessage) => string,
  other?: OtherUpgrade,
): void {
  io.attach(server);
  if (sessionId !== undefined) io.engine.generateId = sessionId;
  const requests = server.listeners("request") as ((request: IncomingMessage, response: ServerResponse) => void)[];
  server.removeAllListeners("request");
  server.on("request", (request, response) => {
    const refusal = refusalOf(request, gate);
    if (refusal !== undefined) return answer(request, response, refusal);
    for (const listener of requests) listener.call(server, request, response);
  });
  const upgrades = server.listeners("upgrade") as ((request: IncomingMessage, socket: Duplex, head: Buffer) => void)[];
  server.removeAllListeners("upgrade");
  server.on("upgrade", (request, socket, head) => {
    const isOther = request.url?.split("?", 1)[0] === other?.path;
    const refusal = isOther ? refusalOfNew(request, gate) : refusalOf(request, gate);
    if (refusal !== undefined) return answerRaw(request, socket, refusal);
    if (isOther) return other?.upgrade(request, socket, head);
    upgradeWithoutResponse(socket, () => {
      for (const listener of upgrades) listener.call(server, request, socket, head);
    });
  });
}

/** Whether a request to upgrade is one to a WebSocket that is here. Others are requests like any other (RFC 9110, 7.8). */
export function isUpgrade({ url = "", headers: { upgrade = "" } }: IncomingMessage): boolean {
  return /^websocket$/i.test(upgrade) && (url.startsWith(PATH) || url.split("?", 1)[0] === PLAIN_PATH);
}

function refusalOf(request: IncomingMessage, gate: Gate): CarillonError | undefined {
  const { method, url = "" } = request;
  if (!url.startsWith(PATH)) return undefined;
  if (isHandshake(request)) return refusalOfNew(request, gate);
  // A preflight is answered by the rules of CORS themselves.
  return method === "OPTIONS" || gate.allows(request) ? undefined : foreign();
}

/** Why a client can't connect just now, if it can't. */
export function refusalOfNew(request: IncomingMessage, { refuse, allows }: Gate): CarillonError | undefined {
  return allows(request) ? refuse(request) : foreign();
}

function foreign(): CarillonError {
  return new CarillonError("FORBIDDEN", "pages of this Origin may not connect; CORS_ORIGINS lists those that may");
}

/** The first request of a transport: later ones carry the session's id. Read as Engine.IO reads it, so that no spelling gets past the gate. */
function isHandshake({ method, url = "" }: IncomingMessage): boolean {
  if (method !== "GET") return false;
  const query = new URLSearchParams(url.slice(url.indexOf("?") + 1).split("#", 1)[0]);
  return query.has("transport") && !query.getAll("sid").at(-1);
}

/** Of what no route of Fastify sees. */
export function answer(request: IncomingMessage, response: ServerResponse, refusal: CarillonError): void {
  const { status, headers, body } = refused(request, refusal);
  response.writeHead(status, headers).end(body);
}

/** On the bare socket of an upgrade. */
export function answerRaw(request: IncomingMessage, socket: Duplex, refusal: CarillonError): void {
  const { status, headers, body } = refused(request, refusal);
  const lines = Object.entries({ ...headers, connection: "close" }).map(([name, value]) => `${name}: ${value}`);
  socket.on("error", () => {});
  socket.end(`HTTP/1.1 ${status} ${STATUS_CODES[status]}\r\n${lines.join("\r\n")}\r\n\r\n${body}`);
}

function refused(request: IncomingMessage, refusal: CarillonError) {
  const requestId = requestIdOf(request.headers);
  const problem = problemOf(refusal, requestId);
  const body = JSON.stringify(problem);
  const headers = {
    ...problemHeaders(refusal),
    "content-length": String(Buffer.byteLength(body)),
    "x-request-id": requestId,
    // A page on another origin can't read it anyway, and its client only needs the failure.
    "access-control-allow-origin": "*",
  };
  return { status: problem.status, headers, body };
}
