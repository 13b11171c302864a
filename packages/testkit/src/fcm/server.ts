/** A stand-in for FCM's HTTP v1 API and Google's OAuth server, on one TLS port, for the unmodified firebase-admin. */
import { generateKeyPairSync } from "node:crypto";
import { writeFileSync } from "node:fs";
import {
  createSecureServer,
  type Http2SecureServer,
  type Http2ServerRequest,
  type Http2ServerResponse,
} from "node:http2";
import type { AddressInfo, Socket } from "node:net";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { generate } from "selfsigned";
import { tempDir } from "../temp.ts";
import { ANSWERS, type FcmAnswer, type FcmAnswerName, OAUTH_ANSWERS } from "./answers.ts";
import { type FcmMessage, faultOf } from "./judge.ts";
import { redirectFcm, trust } from "./redirect.ts";

/** `ok`; an answer by its name; `hang`: never an answer; `reset`: the connection is cut; `goaway`: HTTP/2's way to say so; or after a while. */
export type FcmBehaviour =
  | "ok"
  | "hang"
  | "reset"
  | "goaway"
  | FcmAnswerName
  | keyof typeof OAUTH_ANSWERS
  | FcmAnswer
  | { readonly afterMs: number; readonly answer: FcmBehaviour };

export interface FcmRequest {
  readonly at: number;
  /** The token or installation id that it was for. */
  readonly target: string;
  readonly message: FcmMessage;
  readonly httpVersion: string;
  readonly behaviour: FcmBehaviour;
  /** It said yes; whether that was heard is another matter. */
  accepted: boolean;
}

export interface StartFcmOptions {
  /** Keep only numbers, no messages: for storms. */
  readonly countOnly?: boolean;
}

const PROJECT = "standin";
const MAX_REQUESTS = 200_000;
const preload = fileURLToPath(new URL("./preload.ts", import.meta.url));

export class FcmServer {
  /** What arrived, whatever was answered. */
  readonly requests: FcmRequest[] = [];
  /** How many messages it accepted for each target. */
  readonly accepted = new Map<string, number>();
  /** How many messages arrived, and how many at most at one time. */
  sends = 0;
  mostAtOnce = 0;
  tokenRequests = 0;
  /** What everybody gets for whom nothing is scripted. */
  byDefault: FcmBehaviour = "ok";
  oauth: FcmBehaviour = "ok";
  readonly #scripts = new Map<string, FcmBehaviour[]>();
  readonly #sockets = new Set<Socket>();
  readonly #options: StartFcmOptions;
  readonly #identity: { readonly key: string; readonly cert: string };
  readonly #certFile = join(tempDir("fcm"), "ca.pem");
  readonly #accountKey: string;
  #server: Http2SecureServer | undefined;
  #port = 0;
  #now = 0;

  constructor(identity: { readonly key: string; readonly cert: string }, options: StartFcmOptions) {
    this.#identity = identity;
    this.#options = options;
    writeFileSync(this.#certFile, identity.cert);
    const format = { type: "pkcs8", format: "pem" } as const;
    this.#accountKey = generateKeyPairSync("rsa", { modulusLength: 2048 }).privateKey.export(format).toString();
  }

  get port(): number {
    return this.#port;
  }

  /** A service account that it believes: a value for FIREBASE_CREDENTIALS. */
  get credentials(): string {
    return JSON.stringify({
      type: "service_account",
      project_id: PROJECT,
      private_key_id: "1",
      private_key: this.#accountKey,
      client_email: `carillon@${PROJECT}.iam.gserviceaccount.com`,
      token_uri: "https://oauth2.googleapis.com/token",
    });
  }

  /** What a node needs in its environment to push to it. */
  get env(): Record<string, string> {
    return {
      FIREBASE_CREDENTIALS: this.credentials,
      NODE_OPTIONS: `--import ${preload}`,
      NODE_EXTRA_CA_CERTS: this.#certFile,
      FCM_STAND_IN: `${this.#port}`,
    };
  }

  /** Leads the calls of this very process to it. */
  redirect(): void {
    trust(this.#identity.cert);
    redirectFcm(this.#port);
  }

  /** How it behaves to a target: one after another, and the last one from then on. None: as to everybody. */
  script(target: string, ...behaviours: FcmBehaviour[]): void {
    this.#scripts.set(target, behaviours);
  }

  /** As if it had heard nothing so far, and was told nothing. */
  reset(): void {
    this.requests.length = 0;
    this.accepted.clear();
    this.#scripts.clear();
    Object.assign(this, { sends: 0, mostAtOnce: 0, tokenRequests: 0, byDefault: "ok", oauth: "ok" });
  }

  to(target: string): FcmRequest[] {
    return this.requests.filter((request) => request.target === target);
  }

  async start(): Promise<void> {
    const server = createSecureServer({ allowHTTP1: true, ...this.#identity }, (request, response) => {
      this.#serve(request, response).catch(() => response.stream?.destroy());
    });
    server.on("connection", (socket: Socket) => {
      this.#sockets.add(socket);
      socket.on("close", () => this.#sockets.delete(socket));
      socket.on("error", () => {});
    });
    server.on("sessionError", () => {});
    server.on("tlsClientError", () => {});
    await new Promise<void>((resolve, reject) => {
      server.once("error", reject);
      server.listen(this.#port, "127.0.0.1", () => resolve());
    });
    this.#server = server;
    this.#port = (server.address() as AddressInfo).port;
  }

  /** As if it were killed: connections are reset, and new ones refused until `start`. */
  async stop(): Promise<void> {
    const server = this.#server;
    if (server === undefined) return;
    this.#server = undefined;
    const closed = new Promise((resolve) => server.close(resolve));
    for (const socket of this.#sockets) socket.resetAndDestroy();
    await closed;
  }

  async #serve(request: Http2ServerRequest, response: Http2ServerResponse): Promise<void> {
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk);
    const text = Buffer.concat(chunks).toString();
    if (request.url === "/token") return this.#token(request, response);
    const project = /^\/v1\/projects\/([^/]+)\/messages:send$/.exec(request.url)?.[1];
    if (request.method !== "POST" || project === undefined) return answer(response, ANSWERS["html-404"]);
    this.sends++;
    this.#now++;
    this.mostAtOnce = Math.max(this.mostAtOnce, this.#now);
    try {
      await this.#message(request, response, project, text);
    } finally {
      this.#now--;
    }
  }

  async #token(request: Http2ServerRequest, response: Http2ServerResponse): Promise<void> {
    this.tokenRequests++;
    const token = { access_token: "stand-in", expires_in: 3599, token_type: "Bearer" };
    await behave(this.oauth, request, response, { status: 200, body: token });
  }

  async #message(
    request: Http2ServerRequest,
    response: Http2ServerResponse,
    project: string,
    text: string,
  ): Promise<void> {
    const body: { message?: FcmMessage; validate_only?: boolean } = JSON.parse(text);
    const message = body.message ?? {};
    const target = message.token ?? message.fid ?? "";
    const behaviour = this.#behaviour(target);
    const { httpVersion } = request;
    const heard: FcmRequest = { at: Date.now(), target, message, httpVersion, behaviour, accepted: false };
    if (!this.#options.countOnly && this.requests.length < MAX_REQUESTS) this.requests.push(heard);
    const fault =
      request.headers.authorization !== "Bearer stand-in"
        ? ANSWERS.unauthenticated
        : project === PROJECT
          ? faultOf(body)
          : ANSWERS["no-such-project"];
    if (fault !== undefined) return answer(response, fault);
    const name = `projects/${PROJECT}/messages/${this.sends}`;
    const accept = () => {
      if (body.validate_only === true) return;
      heard.accepted = true;
      this.accepted.set(target, (this.accepted.get(target) ?? 0) + 1);
    };
    await behave(behaviour, request, response, { status: 200, body: { name } }, accept);
  }

  #behaviour(target: string): FcmBehaviour {
    const script = this.#scripts.get(target);
    if (script === undefined) return this.byDefault;
    return (script.length > 1 ? script.shift() : script[0]) ?? this.byDefault;
  }
}

export async function startFcm(options: StartFcmOptions = {}): Promise<FcmServer> {
  const names = ["fcm.googleapis.com", "oauth2.googleapis.com"];
  const { private: key, cert } = await generate([{ name: "commonName", value: "Carillon's stand-in for FCM" }], {
    keyType: "ec",
    extensions: [
      { name: "basicConstraints", cA: true },
      { name: "subjectAltName", altNames: names.map((value) => ({ type: 2, value })) },
    ],
  });
  const server = new FcmServer({ key, cert }, options);
  await server.start();
  return server;
}

async function behave(
  behaviour: FcmBehaviour,
  request: Http2ServerRequest,
  response: Http2ServerResponse,
  success: FcmAnswer,
  accepted?: () => void,
): Promise<void> {
  if (typeof behaviour === "object") {
    if (!("afterMs" in behaviour)) return answer(response, behaviour);
    await sleep(behaviour.afterMs);
    return behave(behaviour.answer, request, response, success, accepted);
  }
  switch (behaviour) {
    case "ok":
      accepted?.();
      return answer(response, success);
    case "hang":
      return;
    case "reset":
      request.socket.destroy();
      return;
    case "goaway":
      if (request.httpVersionMajor >= 2) request.stream.session?.goaway(0);
      else request.socket.end();
      return;
    default:
      return answer(response, { ...ANSWERS, ...OAUTH_ANSWERS }[behaviour]);
  }
}

function answer(response: Http2ServerResponse, { status, headers, body }: FcmAnswer): void {
  response.writeHead(status, { "content-type": "application/json; charset=UTF-8", ...headers });
  response.end(typeof body === "string" ? body : JSON.stringify(body));
}
