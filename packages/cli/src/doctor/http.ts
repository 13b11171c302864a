/** HTTP with a connection of its own for each request: one that is kept open would hide how a balancer spreads them. */
import { type ClientRequest, type IncomingMessage, request as plain } from "node:http";
import { request as secure } from "node:https";
import type { Socket } from "node:net";

export interface HttpAnswer {
  readonly status: number;
  readonly headers: IncomingMessage["headers"];
  readonly text: string;
}

export interface HttpRequest {
  readonly method?: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: string;
  readonly timeoutMs?: number;
}

const TIMEOUT_MS = 5_000;
const MAX_BYTES = 1024 * 1024;

export function http(url: URL, options: HttpRequest = {}): Promise<HttpAnswer> {
  return new Promise((resolve, reject) => {
    const request = start(url, options, reject);
    request.once("response", (response) => {
      readText(response).then((text) => resolve({ status: status(response), headers: response.headers, text }), reject);
    });
    request.end(options.body);
  });
}

/** Asks for the upgrade to a WebSocket, and hands out the open socket or the status of the refusal. */
export function upgrade(url: URL, options: HttpRequest = {}): Promise<Socket | number> {
  const key = Buffer.from(crypto.randomUUID().replaceAll("-", ""), "hex").toString("base64");
  const headers = {
    ...options.headers,
    connection: "Upgrade",
    upgrade: "websocket",
    "sec-websocket-version": "13",
    "sec-websocket-key": key,
  };
  return new Promise((resolve, reject) => {
    const request = start(url, { ...options, headers }, reject);
    request.once("upgrade", (_response, socket: Socket, head) => {
      if (head.length > 0) socket.unshift(head);
      socket.setTimeout(0);
      resolve(socket);
    });
    request.once("response", (response) => {
      response.destroy();
      resolve(status(response));
    });
    request.end();
  });
}

/** The first bytes of a body that never ends; `undefined` when none come within the time. */
export function firstBytes(url: URL, options: HttpRequest = {}): Promise<{ status: number; text: string | undefined }> {
  const { timeoutMs = TIMEOUT_MS } = options;
  return new Promise((resolve, reject) => {
    // A proxy that buffers may keep the headers too.
    const timer = setTimeout(() => done(200, undefined), timeoutMs);
    const request = start(url, { ...options, timeoutMs: 2 * timeoutMs }, (error) => {
      clearTimeout(timer);
      reject(error);
    });
    const done = (code: number, text: string | undefined) => {
      clearTimeout(timer);
      request.destroy();
      resolve({ status: code, text });
    };
    request.once("response", (response) => {
      response.once("data", (chunk: Buffer) => done(status(response), chunk.toString()));
      response.once("end", () => done(status(response), ""));
      response.once("error", () => {});
    });
    request.end();
  });
}

function start(url: URL, options: HttpRequest, fail: (error: Error) => void): ClientRequest {
  const { method = "GET", headers = {}, body, timeoutMs = TIMEOUT_MS } = options;
  const request = (url.protocol === "https:" ? secure : plain)(url, {
    method,
    agent: false,
    headers: { ...headers, ...(body !== undefined && { "content-length": `${Buffer.byteLength(body)}` }) },
    timeout: timeoutMs,
  });
  request.once("timeout", () => request.destroy(new Error(`no answer within ${timeoutMs} ms`)));
  request.on("error", fail);
  return request;
}

async function readText(response: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of response) {
    bytes += chunk.length;
    if (bytes > MAX_BYTES) throw new Error(`an answer of more than ${MAX_BYTES} bytes`);
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString();
}

function status(response: IncomingMessage): number {
  return response.statusCode ?? 0;
}
