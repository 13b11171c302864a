/** A stock Socket.IO client in several namespaces at once, over one transport as in a browser, that keeps what it hears. */
import { type Client, connect, waitFor } from "@carillon/testkit";
import type { Socket } from "socket.io-client";
import { expect } from "vitest";
import { compareIds } from "../kit.ts";

export interface Heard {
  readonly namespace: string;
  readonly event: string;
  // biome-ignore lint/suspicious/noExplicitAny: a test says what it expects
  readonly argument: any;
  readonly id: string;
  /** `performance.now()` when it arrived. */
  readonly at: number;
}

export interface EarOptions {
  /** For messages. */
  readonly name: string;
  readonly transport: "websocket" | "polling";
  /** Default: /channels, /trips and /notifications. */
  readonly namespaces?: readonly string[];
  /** To subscribe to on /channels, before `openEar` resolves. */
  readonly channels?: readonly string[];
  readonly query?: Record<string, string>;
  readonly auth?: Record<string, unknown>;
}

const HEARD = new Set(["refresh", "notification", "gap"]);

export class Ear {
  readonly name: string;
  /** Refreshes, notifications and gaps of all its namespaces, as they came. */
  readonly heard: Heard[] = [];
  /** Why it lost a connection, each time. */
  readonly disconnects: string[] = [];
  /** `ready` events after the first of each namespace. */
  readonly returns: { readonly namespace: string; readonly recovered: boolean }[] = [];
  readonly #sockets = new Map<string, Socket>();
  readonly #ready = new Set<string>();

  constructor(first: Client, namespaces: readonly string[], { name, auth = {} }: EarOptions) {
    this.name = name;
    for (const [index, namespace] of namespaces.entries()) {
      const socket = index === 0 ? first.socket : first.socket.io.socket(namespace, { auth });
      this.#sockets.set(namespace, socket);
      socket.onAny((event: string, argument, id) => {
        if (HEARD.has(event)) this.heard.push({ namespace, event, argument, id, at: performance.now() });
        else if (event !== "ready") return;
        else if (this.#ready.has(namespace)) this.returns.push({ namespace, recovered: argument.recovered });
        else this.#ready.add(namespace);
      });
      socket.on("disconnect", (reason) => this.disconnects.push(`${namespace}: ${reason}`));
      if (index > 0) socket.connect();
    }
  }

  get isReady(): boolean {
    return this.#ready.size === this.#sockets.size;
  }

  socket(namespace: string): Socket {
    const socket = this.#sockets.get(namespace);
    if (socket === undefined) throw new Error(`${this.name} is not in ${namespace}`);
    return socket;
  }

  /** `emit` with an ack, within 10 s; throws what is refused. */
  // biome-ignore lint/suspicious/noExplicitAny: a test says what it expects
  async ask(namespace: string, event: string, body: object): Promise<any> {
    const ack = await this.socket(namespace).timeout(10_000).emitWithAck(event, body);
    if (ack.ok !== true) throw new Error(`${this.name}: ${event} on ${namespace} was refused: ${JSON.stringify(ack)}`);
    return ack;
  }

  /** What it heard in one namespace, as [event, argument]. */
  story(namespace: string, from = 0): [event: string, argument: unknown][] {
    return this.heard
      .slice(from)
      .filter((heard) => heard.namespace === namespace)
      .map(({ event, argument }) => [event, argument]);
  }

  /** Of the messages on a channel, the payloads. */
  // biome-ignore lint/suspicious/noExplicitAny: a test says what it expects
  payloads(channel: string, from = 0): any[] {
    return this.heard
      .slice(from)
      .filter(({ event, argument }) => event === "notification" && argument.channel === channel)
      .map(({ argument }) => argument.payload);
  }

  /** Of the refreshes in a namespace, the scopes. */
  scopes(namespace: string, from = 0): string[] {
    return this.heard
      .slice(from)
      .filter((heard) => heard.event === "refresh" && heard.namespace === namespace)
      .map(({ argument }) => argument.scope);
  }

  close(): void {
    for (const socket of this.#sockets.values()) socket.disconnect();
  }
}

/** Resolves when it is `ready` everywhere and subscribed to everything. */
export async function openEar(url: string, options: EarOptions): Promise<Ear> {
  const { transport, query = {}, auth = {}, channels = [] } = options;
  const { namespaces = ["/channels", "/trips", "/notifications"] } = options;
  const first = connect(url, namespaces[0], {
    transports: [transport],
    query,
    auth,
    reconnectionDelay: 50,
    reconnectionDelayMax: 500,
  });
  const ear = new Ear(first, namespaces, options);
  try {
    await waitFor(() => ear.isReady, { what: `${ear.name} to be ready`, timeoutMs: 15_000 });
    await Promise.all(channels.map((channel) => ear.ask("/channels", "subscribe", { channel })));
  } catch (error) {
    ear.close();
    throw error;
  }
  return ear;
}

/** Two at each node behind the cluster's balancer, one polling and one on a websocket. */
export function openEars(
  url: string,
  nodes: number,
  options: Pick<EarOptions, "channels" | "namespaces" | "auth"> = {},
): Promise<Ear[]> {
  const places = Array.from({ length: nodes }, (_, node) =>
    (["polling", "websocket"] as const).map((transport) => ({ node, transport })),
  ).flat();
  return Promise.all(
    places.map(({ node, transport }) =>
      openEar(url, { ...options, name: `${transport} at ${node}`, transport, query: { node: `${node}` } }),
    ),
  );
}

/** Every connection hears in log order and one id at most once. */
export function expectLogOrder(ear: Ear): void {
  const last = new Map<string, string>();
  for (const { namespace, event, argument, id } of ear.heard) {
    const before = last.get(namespace);
    const what = `${ear.name} in ${namespace}: ${event} ${JSON.stringify(argument)?.slice(0, 200)} came after ${before}`;
    if (before !== undefined) expect(compareIds(before, id), what).toBeLessThan(0);
    last.set(namespace, id);
  }
}

/** Waits until `condition` holds for every ear; else says what those heard for which it does not. */
export async function allHear(
  ears: readonly Ear[],
  what: string,
  condition: (ear: Ear) => boolean,
  timeoutMs = 15_000,
): Promise<void> {
  await waitFor(() => ears.every(condition), { what, timeoutMs }).catch((error: Error) => {
    const deaf = ears.filter((ear) => !condition(ear));
    const heard = deaf.map((ear) => {
      const last = ear.heard.slice(-4).map((entry) => JSON.stringify(entry).slice(0, 200));
      return `${ear.name} (${ear.heard.length} events) heard last:\n  ${last.join("\n  ")}`;
    });
    throw new Error(`${error.message}; ${deaf.length} of ${ears.length} did not:\n${heard.join("\n")}`);
  });
}
