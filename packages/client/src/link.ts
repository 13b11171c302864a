/**
 * The one physical connection and the namespaces on it: when to look whether it still lives, what all of them say together, and
 * what any of them may carry.
 */
import { Manager } from "socket.io-client";
import { type Backoff, createBackoff } from "./backoff.ts";
import { Credentials } from "./credentials.ts";
import { type ClientError, closed } from "./errors.ts";
import { Namespace, type NamespaceContext } from "./namespace.ts";
import { isForeground, isOnline, watchPage } from "./page.ts";
import type { ClientOptions, Status } from "./types.ts";

export interface LinkOptions extends ClientOptions {
  readonly report: (error: ClientError) => void;
  readonly onStatus: (status: Status) => void;
}

const RECONNECT_MAX_MS = 20_000;
/** What answers no sooner after a pause is taken for lost. */
const ALIVE_TIMEOUT_MS = 2000;
const MAX_SEEN = 1000;

export class Link implements NamespaceContext {
  status: Status = { state: "idle" };
  readonly manager: Manager;
  readonly credentials: Credentials;
  readonly auth: Readonly<Record<string, unknown>>;
  readonly requestTimeoutMs: number;
  readonly report: (error: ClientError) => void;
  readonly #onStatus: (status: Status) => void;
  readonly #closing = new AbortController();
  readonly #namespaces = new Map<string, Namespace>();
  /** Event ids that nobody was told of yet. */
  #seen: string[] = [];
  #foreground = isForeground();

  constructor(options: LinkOptions) {
    const { url, token, auth, installationId, requestTimeoutMs = 10_000, report } = options;
    const socket = { reconnectionDelayMax: RECONNECT_MAX_MS, ...options.socket, autoConnect: false };
    const { signal } = this.#closing;
    this.manager = new Manager(url as string, socket);
    this.credentials = new Credentials({ token, report, signal, renew: (fresh) => this.#renew(fresh) });
    this.auth = { ...auth, installationId };
    this.requestTimeoutMs = requestTimeoutMs;
    this.report = report;
    this.#onStatus = options.onStatus;
    watchPage(() => this.#pageChanged(), signal);
  }

  namespace(name: string): Namespace {
    if (this.#closing.signal.aborted) throw closed();
    let namespace = this.#namespaces.get(name);
    if (namespace === undefined) {
      namespace = new Namespace(name, this);
      this.#namespaces.set(name, namespace);
    }
    return namespace;
  }

  /** Tries again what was refused for good, with a new token where one can be asked for. */
  connect(): void {
    this.credentials.reset();
    for (const namespace of this.#namespaces.values()) if (namespace.status.state === "refused") namespace.connect();
  }

  backoff(): Backoff {
    return createBackoff(this.manager.reconnectionDelay(), this.manager.reconnectionDelayMax());
  }

  /** What the server should know of this client, and does not yet. */
  tell({ socket }: Namespace): void {
    if (this.#foreground !== undefined) socket.emit("state", { foreground: this.#foreground });
    if (this.#seen.length === 0) return;
    socket.emit("seen", { ids: this.#seen });
    this.#seen = [];
  }

  onChange(): void {
    const status = this.#judge();
    if (JSON.stringify(status) === JSON.stringify(this.status)) return;
    this.status = status;
    this.#onStatus(status);
  }

  setForeground(foreground: boolean): void {
    this.#foreground = foreground;
    for (const namespace of this.#connected()) this.tell(namespace);
    if (foreground) this.#checkAlive();
  }

  seen(ids: readonly string[]): void {
    this.#seen = [...this.#seen, ...ids].slice(-MAX_SEEN);
    for (const namespace of this.#connected()) this.tell(namespace);
  }

  close(): void {
    this.#closing.abort();
    for (const namespace of this.#namespaces.values()) namespace.close();
    this.onChange();
  }

  #all(): Namespace[] {
    return [...this.#namespaces.values()];
  }

  #connected(): Namespace[] {
    return this.#all().filter(({ socket }) => socket.connected);
  }

  /** Of one namespace for all: a token belongs to the connection that they share. */
  async #renew(token: string): Promise<void> {
    const [namespace] = this.#connected();
    await namespace?.request("auth:refresh", { token });
  }

  #pageChanged(): void {
    const foreground = isForeground();
    if (foreground === undefined) this.#checkAlive();
    else this.setForeground(foreground);
    this.onChange();
  }

  /** A device that slept, or whose network changed, may hold a connection that has long been dead, or wait in vain for the next try. */
  #checkAlive(): void {
    const active = () => this.#all().filter(({ socket }) => socket.active);
    if (active().length === 0 || this.manager.engine?.readyState === "opening") return;
    // At once. Each namespace resumes as after any lost transport.
    const reopen = () => {
      const all = active();
      for (const { socket } of all) socket.disconnect();
      for (const { socket } of all) socket.connect();
    };
    const [namespace] = this.#connected();
    if (namespace === undefined) reopen();
    // One that isn't whole yet answers nothing, and has just been opened.
    if (namespace?.status.state !== "connected") return;
    const { socket } = namespace;
    const { id } = socket;
    const state = { foreground: this.#foreground ?? true };
    socket.timeout(ALIVE_TIMEOUT_MS).emit("state", state, (lost: Error | null) => {
      if (lost !== null && socket.id === id) reopen();
    });
  }

  #judge(): Status {
    if (this.#closing.signal.aborted) return { state: "closed" };
    const all = this.#all()
      .filter(({ inUse }) => inUse)
      .map(({ status }) => status as Status);
    const lost: Status = { state: isOnline() ? "connecting" : "offline" };
    const [first = { state: "idle" }] = all;
    return (
      all.find(({ state }) => state === "connected") ?? (all.every(({ state }) => state === "refused") ? first : lost)
    );
  }
}
