/**
 * The one physical connection and the namespaces on it: when to look whether it still lives, what all of them say together, and
 * what any of them may carry.
 */
import { REQUEST } from "@carillon/protocol";
import { Manager } from "socket.io-client";
import { Backoff } from "./backoff.ts";
import { Credentials } from "./credentials.ts";
import { ClientError } from "./errors.ts";
import { Namespace } from "./namespace.ts";
import { isForeground, isOnline, watchPage } from "./page.ts";
import type { ClientOptions, Status } from "./types.ts";

export interface LinkOptions extends ClientOptions {
  readonly report: (error: ClientError) => void;
  readonly onStatus: (status: Status) => void;
}

const RECONNECT_MIN_MS = 1000;
const RECONNECT_MAX_MS = 20_000;
/** What answers no sooner after a pause is taken for lost. */
const ALIVE_TIMEOUT_MS = 2000;
const MAX_SEEN = 1000;

export class Link {
  status: Status = { state: "idle" };
  readonly #options: LinkOptions;
  readonly #manager: Manager;
  readonly #credentials: Credentials;
  readonly #closing = new AbortController();
  readonly #namespaces = new Map<string, Namespace>();
  /** Event ids that nobody was told of yet. */
  #seen: string[] = [];
  #foreground = isForeground();

  constructor(options: LinkOptions) {
    this.#options = options;
    const { url, path = "/socket.io/", socket, token, report } = options;
    const managerOptions = {
      reconnectionDelay: RECONNECT_MIN_MS,
      reconnectionDelayMax: RECONNECT_MAX_MS,
      ...socket,
      path,
      autoConnect: false,
    };
    this.#manager = url === undefined ? new Manager(managerOptions) : new Manager(url, managerOptions);
    const { signal } = this.#closing;
    this.#credentials = new Credentials({ token, report, signal, renew: (fresh) => this.#renew(fresh) });
    watchPage(() => this.#pageChanged(), signal);
  }

  namespace(name: string): Namespace {
    if (this.#closing.signal.aborted) throw new ClientError("CLOSED", "the client was closed");
    let namespace = this.#namespaces.get(name);
    if (namespace === undefined) {
      const { auth, installationId, requestTimeoutMs = 10_000, report } = this.#options;
      namespace = new Namespace({
        name,
        manager: this.#manager,
        credentials: this.#credentials,
        auth: { ...auth, ...(installationId !== undefined && { installationId }) },
        backoff: () => new Backoff(this.#manager.reconnectionDelay(), this.#manager.reconnectionDelayMax()),
        requestTimeoutMs,
        report,
        onChange: () => this.#changed(),
        onConnect: (connected) => this.#greet(connected),
      });
      this.#namespaces.set(name, namespace);
    }
    return namespace;
  }

  /** Tries again what was refused for good, with a new token where one can be asked for. */
  connect(): void {
    this.#credentials.reset();
    for (const namespace of this.#namespaces.values()) if (namespace.status.state === "refused") namespace.connect();
  }

  setForeground(foreground: boolean): void {
    this.#foreground = foreground;
    for (const { socket } of this.#connected()) socket.emit(REQUEST.state, { foreground });
    if (foreground) this.#checkAlive();
  }

  seen(ids: readonly string[]): void {
    this.#seen = [...this.#seen, ...ids].slice(-MAX_SEEN);
    for (const namespace of this.#connected()) this.#tellSeen(namespace);
  }

  close(): void {
    if (this.#closing.signal.aborted) return;
    this.#closing.abort();
    for (const namespace of this.#namespaces.values()) namespace.close();
    this.#changed();
  }

  #connected(): Namespace[] {
    return [...this.#namespaces.values()].filter(({ socket }) => socket.connected);
  }

  #greet(namespace: Namespace): void {
    if (this.#foreground !== undefined) namespace.socket.emit(REQUEST.state, { foreground: this.#foreground });
    this.#tellSeen(namespace);
  }

  #tellSeen({ socket }: Namespace): void {
    if (this.#seen.length === 0) return;
    socket.emit(REQUEST.seen, { ids: this.#seen });
    this.#seen = [];
  }

  /** Of one namespace for all: a token belongs to the connection that they share. */
  async #renew(token: string): Promise<void> {
    const [namespace] = this.#connected();
    await namespace?.request(REQUEST.authRefresh, { token });
  }

  #pageChanged(): void {
    const foreground = isForeground();
    if (foreground !== undefined && foreground !== this.#foreground) this.setForeground(foreground);
    else if (foreground !== false) this.#checkAlive();
    this.#changed();
  }

  /** A device that slept, or whose network changed, may hold a connection that has long been dead, or wait in vain for the next try. */
  #checkAlive(): void {
    const inUse = [...this.#namespaces.values()].some(({ socket }) => socket.active);
    if (!inUse || this.#manager.engine?.readyState === "opening") return;
    const [namespace] = this.#connected();
    if (namespace === undefined) this.#reopen();
    // One that isn't whole yet answers nothing, and has just been opened.
    else if (namespace.status.state === "connected") {
      const { socket } = namespace;
      const state = { foreground: this.#foreground ?? true };
      socket.timeout(ALIVE_TIMEOUT_MS).emit(REQUEST.state, state, (lost: Error | null) => {
        if (lost !== null && socket.connected) this.#reopen();
      });
    }
  }

  /** At once. Each namespace resumes as after any lost transport. */
  #reopen(): void {
    const active = [...this.#namespaces.values()].filter(({ socket }) => socket.active);
    for (const { socket } of active) socket.disconnect();
    for (const { socket } of active) socket.connect();
  }

  #changed(): void {
    const status = this.#judge();
    const before = this.status;
    if (JSON.stringify(status) === JSON.stringify(before)) return;
    this.status = status;
    this.#options.onStatus(status);
  }

  #judge(): Status {
    if (this.#closing.signal.aborted) return { state: "closed" };
    const all = [...this.#namespaces.values()].filter(({ inUse }) => inUse).map(({ status }) => status);
    const connected = all.find(({ state }) => state === "connected");
    const [refused] = all;
    if (connected !== undefined) return connected as Status;
    if (refused === undefined) return { state: "idle" };
    if (all.every(({ state }) => state === "refused")) return refused;
    return { state: isOnline() ? "connecting" : "offline" };
  }
}
