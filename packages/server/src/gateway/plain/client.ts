/**
 * One plain WebSocket: who is it, then its frames as requests.
 *
 * Until it is let in, its frames wait in the socket, but for those that arrived in one piece with the one that asks to be.
 */
import type { IncomingHttpHeaders } from "node:http";
import type { Meter } from "@carillon/core";
import { CarillonError } from "@carillon/protocol";
import type { RawData, WebSocket } from "ws";
import type { Authenticator, Principal } from "../../auth/principal.ts";
import type { Arrivals } from "../arrivals.ts";
import { Connection } from "../connection.ts";
import type { Requests } from "../requests.ts";
import { unguessable } from "../sid.ts";
import type { Transport } from "../transport.ts";
import { jsonFrame } from "./codec.ts";
import type { PlainHub } from "./hub.ts";
import { installationOf } from "./identify.ts";
import { answerText, errorText, eventOf, type PlainRequest, readFrame } from "./requests.ts";
import type { WsTransport } from "./ws-transport.ts";

export interface PlainClientOptions {
  readonly hub: PlainHub;
  readonly authenticator: Authenticator;
  readonly arrivals: Pick<Arrivals, "arrive" | "welcome" | "leave" | "refusal">;
  readonly requests: Pick<Requests, "handle" | "ping" | "refuse">;
  /** Counts a transport of a user. Throws `TOO_MANY_CONNECTIONS`. */
  readonly admit: (principal: Principal, transport: Transport) => Promise<void>;
  /** For a client that doesn't say who it is. */
  readonly connectTimeoutMs: number;
  readonly meter: Meter;
}

/** What came with the upgrade, or in the first frame. */
export interface Handshake {
  readonly identify: () => Promise<Principal>;
  readonly session?: unknown;
  readonly since?: unknown;
  readonly installationId?: unknown;
}

const MAX_BAD_IN_A_ROW = 10;
/** Of a frame before anybody is let in: more than a token and all that may be beside it. */
const MAX_FIRST_BYTES = 32_768;

export class PlainClient {
  readonly #options: PlainClientOptions;
  readonly #ws: WebSocket;
  readonly #transport: WsTransport;
  #headers: IncomingHttpHeaders;
  readonly #early: [RawData, boolean][] = [];
  #connection: Connection | undefined;
  #entering = false;
  #badInARow = 0;
  #impatience: NodeJS.Timeout | undefined;

  constructor(ws: WebSocket, transport: WsTransport, headers: IncomingHttpHeaders, options: PlainClientOptions) {
    this.#options = options;
    this.#ws = ws;
    this.#transport = transport;
    this.#headers = headers;
    ws.on("message", (data, isBinary) => this.#hear(data, isBinary));
    transport.onClose(() => clearTimeout(this.#impatience));
  }

  /** With what its upgrade says of it, where that says enough; else its first frame must. */
  async begin(handshake: Handshake | undefined): Promise<void> {
    if (handshake === undefined) this.#awaitAuth();
    else await this.#closedMeanwhile(() => this.#enter(handshake));
  }

  #awaitAuth(): void {
    const { connectTimeoutMs } = this.#options;
    this.#impatience = setTimeout(
      () => this.#sendAway(new CarillonError("UNAUTHENTICATED", `no auth frame within ${connectTimeoutMs} ms`)),
      connectTimeoutMs,
    );
  }

  #hear(data: RawData, isBinary: boolean): void {
    if (this.#entering) return void this.#early.push([data, isBinary]);
    if (!this.#transport.isOpen) return;
    // Unread: to read JSON digit for digit takes its time, and a stranger must not make the node take it.
    if (this.#connection === undefined && (data as Buffer).length > MAX_FIRST_BYTES)
      return void this.#bad(sayWhoFirst());
    const request = readFrame(data, isBinary);
    if ("error" in request) {
      this.#bad(request.error, request.ref);
      return;
    }
    if (this.#connection === undefined) return void this.#knock(request);
    this.#badInARow = 0;
    this.#ask(this.#connection, request);
  }

  #ask(connection: Connection, request: PlainRequest): void {
    const { requests } = this.#options;
    const { type, body } = request;
    const ack = (answer: Parameters<typeof answerText>[1]) => this.#send(answerText(request, answer));
    if (type === "ping") requests.ping(connection, ack);
    else requests.handle(connection, eventOf(type), [body, ack]);
  }

  /** Not let in yet. A frame that isn't `auth` is heard where a cookie says whose it is. */
  async #knock(request: PlainRequest): Promise<void> {
    const { authenticator } = this.#options;
    const isAuth = request.type === "auth";
    const auth = isAuth ? request.body : {};
    const { session, since, installationId } = auth;
    const identify = () => authenticator.authenticate({ auth, headers: this.#headers });
    clearTimeout(this.#impatience);
    await this.#closedMeanwhile(async () => {
      const ref = isAuth ? request.ref : undefined;
      const refusal = await this.#enter({ identify, session, since, installationId }, ref, !isAuth);
      if (refusal !== undefined) {
        this.#awaitAuth();
        this.#bad(sayWhoFirst(), request.ref);
      } else if (!isAuth && this.#connection !== undefined) this.#ask(this.#connection, request);
    });
  }

  /** What arrives while `enter` is under way is heard after it, in order. */
  async #closedMeanwhile(enter: () => Promise<unknown>): Promise<void> {
    this.#entering = true;
    this.#ws.pause();
    await enter();
    this.#entering = false;
    // One of them may knock again, and the others wait for that.
    for (const [data, isBinary] of this.#early.splice(0)) this.#hear(data, isBinary);
    if (!this.#entering) this.#ws.resume();
  }

  /** Resolves with why not, where that is no reason to go yet. */
  async #enter(handshake: Handshake, ref?: unknown, mayStay = false): Promise<CarillonError | undefined> {
    try {
      this.#connection = await this.#connect(handshake, ref);
      this.#headers = {};
    } catch (error) {
      if (mayStay && error instanceof CarillonError && error.code === "UNAUTHENTICATED") return error;
      this.#sendAway(this.#options.arrivals.refusal(error), ref);
    }
    return undefined;
  }

  async #connect(
    { identify, session, since, installationId }: Handshake,
    ref: unknown,
  ): Promise<Connection | undefined> {
    const { hub, arrivals, admit } = this.#options;
    const transport = this.#transport;
    const principal = await identify();
    const installation = installationOf(installationId);
    await admit(principal, transport);
    const pid = unguessable();
    const socket = hub.member(pid);
    const connection = new Connection({
      socket,
      principal,
      style: hub.style,
      transport,
      installationId: installation,
      greeting: { session: pid, socket: socket.id, ref },
    });
    transport.onClose(() => {
      arrivals.leave(connection);
      hub.remove(socket);
    });
    await arrivals.arrive(connection, { pid: session, offset: since });
    if (!transport.isOpen) return undefined;
    hub.add(socket, connection);
    arrivals.welcome(connection);
    return connection;
  }

  #bad(error: CarillonError, ref?: unknown): void {
    if (++this.#badInARow >= MAX_BAD_IN_A_ROW) {
      this.#options.meter.count("abuseClosed");
      this.#send(errorText(error, ref));
      this.#transport.closeForAbuse();
    } else if (this.#connection === undefined) this.#send(errorText(error, ref));
    else
      this.#options.requests.refuse(this.#connection, error, (answer) => {
        if (!answer.ok) this.#send(errorText(answer.error, ref));
      });
  }

  #sendAway(error: CarillonError, ref?: unknown): void {
    this.#send(errorText(error, ref));
    this.#transport.close(error.code);
  }

  #send(text: string): void {
    this.#transport.write(jsonFrame(text));
  }
}

function sayWhoFirst(): CarillonError {
  return new CarillonError("UNAUTHENTICATED", "say who you are first: a frame of type auth");
}
