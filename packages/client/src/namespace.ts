/**
 * One namespace on the client's connection: connected while somebody uses it, and again after whatever a retry helps.
 *
 * Stock Socket.IO comes back by itself when a transport is lost, and brings what was missed. It gives up when the server refuses
 * the namespace or disconnects it; here the server's code decides.
 */
import type { Ack } from "@carillon/protocol";
import type { Manager, Socket } from "socket.io-client";
import type { Backoff } from "./backoff.ts";
import { type Answer, Claims } from "./claims.ts";
import type { Credentials } from "./credentials.ts";
import { ClientError, type ClientErrorCode, closed } from "./errors.ts";
import { aborted, withTimeout } from "./signals.ts";
import type { Ready, RequestOptions, Status } from "./types.ts";

/** What all namespaces of a client have in common. */
export interface NamespaceContext {
  readonly manager: Manager;
  readonly credentials: Credentials;
  readonly auth: Readonly<Record<string, unknown>>;
  readonly backoff: () => Backoff;
  readonly requestTimeoutMs: number;
  readonly report: (error: ClientError) => void;
  /** Its state is another one. */
  readonly onChange: () => void;
  /** It was let in; what was missed is still to come. */
  tell(namespace: Namespace): void;
}

/** A page that lets go of its last handler and takes the next one should not connect anew for that. */
const LINGER_MS = 1000;
const MAX_PENDING = 1000;
/** Only the application can change these. */
const ENDED: readonly string[] = ["refused", "closed"];
/** No other token helps, nor does asking again. */
const FINAL = /^(FORBIDDEN|REVOKED|UNKNOWN_|INVALID_)/;

export class Namespace {
  status: Exclude<Status, { state: "offline" }> = { state: "idle" };
  readonly socket: Socket;
  readonly claims: Claims;
  readonly #context: NamespaceContext;
  readonly #name: string;
  #backoff: Backoff;
  readonly #waiting = new Set<() => void>();
  /** Not to be resumed: what happened while nobody used it is nobody's business. */
  #fresh = true;
  #users = 0;
  #pending = 0;
  #handshakes = 0;
  #token: string | undefined;
  #ready: Ready | undefined;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #linger: ReturnType<typeof setTimeout> | undefined;

  constructor(name: string, context: NamespaceContext) {
    this.#name = name;
    this.#context = context;
    this.#backoff = context.backoff();
    this.socket = context.manager.socket(name, {
      auth: (send: (auth: object) => void) => void this.#authenticate(send, ++this.#handshakes),
    });
    this.claims = new Claims(this, context);
    this.socket.on("connect", () => this.#connected());
    this.socket.on("ready", ({ node, recovered }: { node: string; recovered: boolean }, id: string) => {
      this.#fresh = false;
      this.#ready = { id, recovered };
      this.#become({ state: "connected", node });
    });
    this.socket.on("disconnect", (reason) => this.#disconnected(reason));
    this.socket.on("connect_error", (error) => {
      // A transport that can't be opened is tried again by the manager.
      if (!this.socket.active) this.#refused(error);
    });
  }

  get inUse(): boolean {
    return this.#users > 0;
  }

  /** Keeps it connected until the returned function is called, once. */
  use(): () => void {
    if (this.status.state === "closed") throw closed();
    clearTimeout(this.#linger);
    this.#users++;
    if (this.status.state === "idle") this.connect();
    return () => {
      this.#users--;
      if (this.inUse || ENDED.includes(this.status.state)) return;
      this.#linger = setTimeout(() => this.#end({ state: "idle" }), LINGER_MS);
    };
  }

  /** Once more, after a refusal too. */
  connect(): void {
    clearTimeout(this.#timer);
    this.#become({ state: "connecting" });
    this.socket.connect();
  }

  close(): void {
    this.#end({ state: "closed" });
    this.claims.close();
  }

  /** Resolves when it is whole, at once when it is; rejects when it is refused or ends. With `signal` aborted it does neither. */
  whenReady(signal?: AbortSignal): Promise<Ready> {
    return new Promise((resolve, reject) => {
      const settle = () => {
        const { status } = this;
        if (status.state === "connected") resolve(this.#ready as Ready);
        else if (ENDED.includes(status.state)) reject(this.#failure());
        else return void this.#waiting.add(settle);
        this.#waiting.delete(settle);
      };
      settle();
      signal?.addEventListener("abort", () => this.#waiting.delete(settle));
    });
  }

  /** Waits for a connection, asks once, and never twice: what was asked may have been done although no answer came. */
  async request(event: string, body: object, { signal }: RequestOptions = {}): Promise<Answer> {
    if (this.#pending >= MAX_PENDING) throw new ClientError("TOO_MANY_PENDING", "too many wait");
    const ended = withTimeout(this.#context.requestTimeoutMs, signal);
    const release = this.use();
    this.#pending++;
    try {
      const asked = this.whenReady(ended).then(() => this.ask(event, body));
      return await Promise.race([asked, aborted(ended)]);
    } catch (error) {
      throw (error as Error).name === "TimeoutError" ? new ClientError("TIMEOUT", `${event}: no answer`) : error;
    } finally {
      this.#pending--;
      release();
    }
  }

  /** On this connection, once. */
  async ask(event: string, body: object): Promise<Answer> {
    let ack: Ack;
    try {
      ack = await this.socket.emitWithAck(event, body);
    } catch (cause) {
      throw new ClientError("DISCONNECTED", `${event}: connection lost`, { cause });
    }
    if (ack.ok) return ack;
    const { code, message, ...more } = ack.error;
    const { channel = "", room = "" } = body as { channel?: string; room?: string };
    throw new ClientError(code as ClientErrorCode, `${event} ${channel} ${room}: ${message}`, more);
  }

  async #authenticate(send: (auth: object) => void, handshake: number): Promise<void> {
    const { auth, credentials, report } = this.#context;
    // Another handshake may have begun meanwhile, or nobody needs it any more.
    const isOver = () => handshake !== this.#handshakes || !this.socket.active;
    try {
      const token = await credentials.get();
      if (isOver()) return;
      this.#token = token;
      send({ ...auth, ...(token && { token }), ...(this.#fresh && { pid: undefined, offset: undefined }) });
    } catch (error) {
      if (isOver()) return;
      report(error as ClientError);
      this.#later(() => {
        if (!isOver()) void this.#authenticate(send, handshake);
      });
    }
  }

  #connected(): void {
    this.#context.credentials.accept(this.#token);
    this.#context.tell(this);
    this.claims.assertAll();
  }

  #disconnected(reason: string): void {
    if (this.status.state === "idle" || this.status.state === "closed") return;
    this.#become({ state: "connecting" });
    // Final for stock clients. Whether the server means it, it says when it is asked again.
    if (reason === "io server disconnect") this.#later(() => this.socket.connect());
    else this.#backoff = this.#context.backoff();
  }

  #refused(error: Error & { data?: { code?: ClientErrorCode } }): void {
    // Socket.IO itself refuses a namespace that the server does not have, without a code.
    const code = error.data?.code ?? "UNKNOWN_NAMESPACE";
    const aboutToken = code === "UNAUTHENTICATED" || code === "TOKEN_EXPIRED";
    if (aboutToken ? this.#context.credentials.reject(this.#token, code) : !FINAL.test(code)) {
      this.#later(() => this.socket.connect());
      return;
    }
    this.#become({ state: "refused", code });
    this.#context.report(this.#failure());
  }

  #later(run: () => void): void {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(run, this.#backoff());
  }

  #end(status: { state: "idle" | "closed" }): void {
    clearTimeout(this.#timer);
    clearTimeout(this.#linger);
    this.#fresh = true;
    this.#backoff = this.#context.backoff();
    this.#become(status);
    this.socket.disconnect();
  }

  #become(status: Namespace["status"]): void {
    this.status = status;
    for (const settle of this.#waiting) settle();
    this.#context.onChange();
  }

  /** Why nothing can be asked for here. */
  #failure(): ClientError {
    const { status } = this;
    return status.state === "refused" ? new ClientError(status.code, `${this.#name} was refused`) : closed();
  }
}
