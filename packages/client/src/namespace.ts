/**
 * One namespace on the client's connection: connected while somebody uses it, and again after whatever a retry helps.
 *
 * Stock Socket.IO comes back by itself when a transport is lost, and brings what was missed. It gives up when the server refuses
 * the namespace or disconnects it; here the server's code decides. What was asked for (rooms, subscriptions) is asked for again on
 * every connection, which is harmless when the server knew it still.
 */
import { type Ack, EVENT } from "@carillon/protocol";
import type { Manager, Socket } from "socket.io-client";
import type { Backoff } from "./backoff.ts";
import { Claim, type ClaimOptions } from "./claim.ts";
import type { Credentials } from "./credentials.ts";
import { ClientError, type ClientErrorCode, RETRYABLE } from "./errors.ts";
import type { Ready, RequestOptions, Status } from "./types.ts";

export interface NamespaceOptions {
  readonly name: string;
  readonly manager: Manager;
  readonly credentials: Credentials;
  readonly auth: Readonly<Record<string, unknown>>;
  readonly backoff: () => Backoff;
  readonly requestTimeoutMs: number;
  readonly report: (error: ClientError) => void;
  /** Its state is another one. */
  readonly onChange: (namespace: Namespace) => void;
  /** Let in; what was missed is still to come. */
  readonly onConnect: (namespace: Namespace) => void;
}

interface Waiting {
  go(): void;
  fail(error: ClientError): void;
}

/** A page that lets go of its last handler and takes the next one should not connect anew for that. */
const LINGER_MS = 1000;
/** A connection that lasted as long has earned a quick retry. */
const STABLE_MS = 30_000;
const MAX_PENDING = 1000;
/** No refusal by anything about the token, and none that asking again helps. */
const FINAL: ReadonlySet<unknown> = new Set(["FORBIDDEN", "REVOKED", "UNKNOWN_NAMESPACE"]);

export class Namespace {
  status: Exclude<Status, { state: "offline" }> = { state: "idle" };
  readonly socket: Socket;
  readonly #options: NamespaceOptions;
  readonly #backoff: Backoff;
  readonly #claims = new Map<string, Claim>();
  readonly #waiting = new Set<Waiting>();
  readonly #retries = new Set<ReturnType<typeof setTimeout>>();
  /** Not to be resumed: what happened while nobody used it is nobody's business. */
  #fresh = true;
  #users = 0;
  #pending = 0;
  #handshakes = 0;
  #token: string | undefined;
  #ready: Ready | undefined;
  #readyAt = 0;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #linger: ReturnType<typeof setTimeout> | undefined;

  constructor(options: NamespaceOptions) {
    this.#options = options;
    this.#backoff = options.backoff();
    this.socket = options.manager.socket(options.name, {
      auth: (send: (auth: object) => void) => void this.#authenticate(send, ++this.#handshakes),
    });
    this.socket.on("connect", () => this.#connected());
    this.socket.on(EVENT.ready, (ready: { node: string; recovered: boolean }, id: string) => {
      this.#fresh = false;
      this.#ready = { id, recovered: ready.recovered };
      this.#readyAt = Date.now();
      this.#become({ state: "connected", node: ready.node });
    });
    this.socket.on("disconnect", (reason) => this.#disconnected(reason));
    this.socket.on("connect_error", (error) => {
      // A transport that can't be opened is tried again by the manager.
      if (!this.socket.active) this.#refused(error);
    });
  }

  get name(): string {
    return this.#options.name;
  }

  /** Keeps it connected until the returned function is called. */
  use(): () => void {
    if (this.status.state === "closed") throw new ClientError("CLOSED", "the client was closed");
    clearTimeout(this.#linger);
    this.#users++;
    if (this.status.state === "idle") this.connect();
    let used = true;
    return () => {
      if (!used) return;
      used = false;
      if (--this.#users > 0 || this.status.state === "closed" || this.status.state === "refused") return;
      this.#linger = setTimeout(() => this.#end({ state: "idle" }), LINGER_MS);
    };
  }

  get inUse(): boolean {
    return this.#users > 0;
  }

  /** Once more, after a refusal too. */
  connect(): void {
    clearTimeout(this.#timer);
    this.#become({ state: "connecting" });
    this.socket.connect();
  }

  close(): void {
    this.#end({ state: "closed" });
  }

  /** Resolves when it is whole; at once when it is. */
  async whenReady(): Promise<Ready> {
    if (this.status.state !== "connected") await this.#wait(() => this.status.state === "connected");
    return this.#ready as Ready;
  }

  /** Something that the server should hold for this client, on this connection and all later ones. */
  claim(key: string, options: ClaimOptions): Claim {
    let claim = this.#claims.get(key);
    if (claim !== undefined) return claim.join();
    const release = this.use();
    claim = new Claim(options, (asked) => {
      release();
      this.#claims.delete(key);
      // On a lost connection there is nothing to leave, and what comes back with it is left then.
      if (asked && this.socket.connected) this.#ask(options.leave, options.body).catch(() => {});
    });
    this.#claims.set(key, claim);
    if (this.socket.connected) void this.#assert(claim);
    else if (this.status.state === "refused") claim.fail(refusal(this.status.code));
    return claim;
  }

  /** Ends a claim, whoever holds it. */
  drop(key: string): void {
    this.#claims.get(key)?.end();
  }

  /** Waits for a connection, asks once, and never twice: what was asked may have been done although no answer came. */
  async request(event: string, body: object, { signal }: RequestOptions = {}): Promise<Record<string, unknown>> {
    signal?.throwIfAborted();
    if (this.#pending >= MAX_PENDING) throw new ClientError("TOO_MANY_PENDING", `${MAX_PENDING} requests are waiting`);
    const release = this.use();
    this.#pending++;
    const { requestTimeoutMs } = this.#options;
    let timer: ReturnType<typeof setTimeout> | undefined;
    let onAbort: (() => void) | undefined;
    const ended = new Promise<never>((_, reject) => {
      const late = () => reject(new ClientError("TIMEOUT", `no answer to ${event} within ${requestTimeoutMs} ms`));
      timer = setTimeout(late, requestTimeoutMs);
      onAbort = () => reject(signal?.reason);
      signal?.addEventListener("abort", onAbort);
    });
    let over = false;
    const asked = async () => {
      if (!this.socket.connected) await this.#wait(() => over || this.socket.connected);
      return over ? {} : this.#ask(event, body);
    };
    try {
      return await Promise.race([asked(), ended]);
    } finally {
      over = true;
      this.#wake();
      this.#pending--;
      clearTimeout(timer);
      if (onAbort !== undefined) signal?.removeEventListener("abort", onAbort);
      release();
    }
  }

  async #authenticate(send: (auth: object) => void, handshake: number): Promise<void> {
    const { auth, credentials, report } = this.#options;
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
      this.#timer = setTimeout(() => {
        if (!isOver()) void this.#authenticate(send, handshake);
      }, this.#backoff.next());
    }
  }

  #connected(): void {
    this.#options.credentials.accept(this.#token);
    this.#options.onConnect(this);
    for (const claim of this.#claims.values()) void this.#assert(claim);
    this.#wake();
  }

  #disconnected(reason: string): void {
    if (this.status.state === "idle" || this.status.state === "closed") return;
    if (Date.now() - this.#readyAt > STABLE_MS) this.#backoff.reset();
    this.#become({ state: "connecting" });
    // Final for stock clients. Whether the server means it, it says when it is asked again.
    if (reason === "io server disconnect") this.#connectLater();
  }

  #refused(error: Error & { data?: { code?: ClientErrorCode } }): void {
    // Socket.IO's own words for a namespace that the server does not have.
    const code = error.data?.code ?? (error.message === "Invalid namespace" ? "UNKNOWN_NAMESPACE" : "INTERNAL");
    const aboutToken = code === "UNAUTHENTICATED" || code === "TOKEN_EXPIRED";
    const final = aboutToken ? !this.#options.credentials.reject(this.#token, code) : FINAL.has(code);
    if (!final) {
      this.#connectLater();
      return;
    }
    const failure = new ClientError(code, `${this.name} was refused: ${error.message}`);
    for (const claim of this.#claims.values()) claim.fail(failure);
    for (const waiting of this.#waiting) waiting.fail(failure);
    this.#become({ state: "refused", code });
    this.#options.report(failure);
  }

  #connectLater(): void {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.socket.connect(), this.#backoff.next());
  }

  async #assert(claim: Claim, backoff = this.#options.backoff()): Promise<void> {
    const connection = this.socket.id;
    const isOver = () => claim.ended || connection !== this.socket.id;
    try {
      claim.succeed(await this.#ask(claim.options.enter, claim.body));
    } catch (error) {
      if (isOver() || !(error instanceof ClientError)) return;
      if (!RETRYABLE.has(error.code)) {
        claim.fail(error);
        this.#options.report(error);
        return;
      }
      const waitMs = Math.max((error.retryAfterS ?? 0) * 1000, backoff.next());
      const timer = setTimeout(() => {
        this.#retries.delete(timer);
        if (!isOver()) void this.#assert(claim, backoff);
      }, waitMs);
      this.#retries.add(timer);
    }
  }

  /** On this connection. */
  async #ask(event: string, body: object): Promise<Record<string, unknown>> {
    let ack: Ack;
    try {
      ack = await this.socket.emitWithAck(event, body);
    } catch (cause) {
      throw new ClientError("DISCONNECTED", `the connection ended before the answer to ${event}`, { cause });
    }
    if (ack?.ok) return ack;
    const { code, message, retryAfterS } = ack.error;
    const { channel, room } = body as { channel?: string; room?: string };
    const about = [event, channel, room].filter(Boolean).join(" ");
    throw new ClientError(
      code as ClientErrorCode,
      `${about}: ${message}`,
      retryAfterS === undefined ? {} : { retryAfterS },
    );
  }

  /** Until `condition` holds; rejects when the namespace is refused or ends. */
  #wait(condition: () => boolean): Promise<void> {
    if (this.status.state === "refused") return Promise.reject(refusal(this.status.code));
    return new Promise((resolve, reject) => {
      const waiting: Waiting = {
        go: () => {
          if (!condition()) return;
          this.#waiting.delete(waiting);
          resolve();
        },
        fail: (error) => {
          this.#waiting.delete(waiting);
          reject(error);
        },
      };
      this.#waiting.add(waiting);
    });
  }

  #wake(): void {
    for (const waiting of this.#waiting) waiting.go();
  }

  #end(status: { state: "idle" | "closed" }): void {
    clearTimeout(this.#timer);
    clearTimeout(this.#linger);
    for (const timer of this.#retries) clearTimeout(timer);
    this.#retries.clear();
    this.#fresh = true;
    this.#backoff.reset();
    this.#become(status);
    this.socket.disconnect();
    for (const claim of this.#claims.values()) claim.end();
    for (const waiting of this.#waiting) waiting.fail(new ClientError("CLOSED", "the client was closed"));
  }

  #become(status: Namespace["status"]): void {
    this.status = status;
    this.#wake();
    this.#options.onChange(this);
  }
}

function refusal(code: ClientErrorCode): ClientError {
  return new ClientError(code, "refused; client.connect() tries again");
}
