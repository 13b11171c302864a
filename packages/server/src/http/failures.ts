/** Every way a request can fail, from a route's refusal down to bytes that aren't HTTP, ends as one problem document. */
import { randomUUID } from "node:crypto";
import { STATUS_CODES } from "node:http";
import type { Duplex } from "node:stream";
import { type Meter, Rarely } from "@carillon/core";
import { CarillonError, ERRORS } from "@carillon/protocol";
import type { FastifyBaseLogger, FastifyInstance, FastifyReply, FastifyRequest } from "fastify";
import type { RouteMethods } from "./methods.ts";
import { problemHeaders, problemOf, toCarillonError } from "./problem.ts";

declare module "fastify" {
  interface FastifyContextConfig {
    /** Refusals here count as refused publications. */
    publishes?: boolean;
  }
}

const WARN_EVERY_MS = 60_000;

export class Failures {
  readonly #logger: FastifyBaseLogger;
  readonly #meter: Pick<Meter, "count">;
  readonly #rarely = new Rarely(WARN_EVERY_MS);
  readonly #methods: RouteMethods;

  constructor(logger: FastifyBaseLogger, meter: Pick<Meter, "count">, methods: RouteMethods) {
    this.#logger = logger;
    this.#meter = meter;
    this.#methods = methods;
  }

  install(app: FastifyInstance): void {
    app.setErrorHandler((error, request, reply) => this.send(error, request, reply));
    app.setNotFoundHandler((request, reply) =>
      this.send(this.#methods.refusal(request.method, request.url), request, reply),
    );
    app.server.on("checkExpectation", (request, response) => {
      const error = new CarillonError("BAD_REQUEST", "the Expect header is not supported");
      response.writeHead(417, problemHeaders(error));
      response.end(JSON.stringify({ ...problemOf(error, randomUUID()), status: 417 }));
      request.resume();
    });
  }

  readonly send = (thrown: unknown, request: FastifyRequest, reply: FastifyReply): FastifyReply => {
    const error = toCarillonError(thrown);
    if (error.code === "INTERNAL") {
      const route = request.routeOptions?.url;
      this.#logger.error(
        { err: error.cause ?? thrown, requestId: request.id, method: request.method, route },
        "request failed",
      );
    }
    if (request.routeOptions?.config?.publishes === true) this.refused(error, request);
    const allow = error.code === "METHOD_NOT_ALLOWED" ? this.#methods.allowed(request.url) : [];
    if (allow.length > 0) reply.header("allow", allow.join(", "));
    // A string: Fastify would print an object by the schema of the route's answer.
    return reply
      .code(ERRORS[error.code].status)
      .headers({ ...problemHeaders(error), "x-request-id": request.id })
      .send(JSON.stringify(problemOf(error, request.id)));
  };

  refused(error: CarillonError, request: FastifyRequest): void {
    this.#meter.count("publicationsRefused", 1, { ingress: "rest", reason: error.code });
    const { code } = error;
    this.#rarely.say(`rest ${code}`, (heldBack) =>
      this.#logger.warn({ requestId: request.id, code, heldBack }, "publication refused"),
    );
  }

  /** For what never became a request. The socket may be dead already. */
  clientError(thrown: Error & { code?: string }, socket: Duplex): void {
    if (thrown.code === "ECONNRESET" || !socket.writable) {
      socket.destroy();
      return;
    }
    const known = toCarillonError(thrown);
    const error =
      known.code === "INTERNAL" ? new CarillonError("BAD_REQUEST", "the bytes are not an HTTP/1.1 request") : known;
    const { code } = error;
    this.#rarely.say(`http ${code}`, (heldBack) =>
      this.#logger.warn({ code, reason: thrown.code, heldBack }, "request refused before it was read"),
    );
    const body = JSON.stringify(problemOf(error, randomUUID()));
    const { status } = ERRORS[error.code];
    const headers = {
      ...problemHeaders(error),
      "content-length": String(Buffer.byteLength(body)),
      connection: "close",
    };
    const lines = Object.entries(headers).map(([name, value]) => `${name}: ${value}\r\n`);
    socket.end(`HTTP/1.1 ${status} ${STATUS_CODES[status]}\r\n${lines.join("")}\r\n${body}`);
  }
}
