/** `GET /events`: a connection whose channels and rooms are in its URL, so that coming back needs nothing but the last id. */
import { createHash } from "node:crypto";
import type { IncomingMessage, ServerResponse } from "node:http";
import type { Interest, TicketUse } from "@carillon/core";
import { CarillonError, formatId, type Position, parseChannel, parseEntityRoom } from "@carillon/protocol";
import type { Policy, Principal } from "../../auth/principal.ts";
import type { Arrivals } from "../arrivals.ts";
import { Connection } from "../connection.ts";
import type { PlainHub } from "../plain/hub.ts";
import { type Identification, identify, installationOf } from "../plain/identify.ts";
import type { Transport } from "../transport.ts";
import type { Transports } from "../transports.ts";
import { SseTransport } from "./sse-transport.ts";

export interface StreamsOptions extends Omit<Identification, "use"> {
  readonly hub: PlainHub;
  readonly namespaces: ReadonlySet<string>;
  readonly policy: Policy;
  readonly interest: Pick<Interest, "acquire">;
  readonly arrivals: Pick<Arrivals, "arrive" | "welcome" | "leave" | "refusal">;
  /** Why nobody from there is let in just now, if nobody is. */
  readonly refuse: (request: IncomingMessage) => CarillonError | undefined;
  /** Counts a transport of an address. Returns what ends that. */
  readonly hold: (request: IncomingMessage) => () => void;
  /** Counts a transport of a user. Throws `TOO_MANY_CONNECTIONS`. */
  readonly admit: (principal: Principal, transport: Transport) => Promise<void>;
  readonly transports: Pick<Transports, "add">;
  /** The position up to which nothing is still to be written to a connection. */
  readonly settled: (connection: Connection) => Position;
  readonly limits: { readonly subscriptions: number; readonly rooms: number };
  readonly heartbeatMs: number;
}

export class Streams {
  readonly #options: StreamsOptions;

  constructor(options: StreamsOptions) {
    this.#options = options;
  }

  /** Resolves once the stream has begun, with `headers` among its own. Throws `CarillonError` before; then nothing was sent. */
  async open(request: IncomingMessage, response: ServerResponse, headers: object): Promise<void> {
    const { arrivals, refuse, heartbeatMs } = this.#options;
    const refusal = refuse(request);
    if (refusal !== undefined) throw refusal;
    // Pipelined: it would begin when the answer before it has ended, and may never.
    if (response.socket === null)
      throw new CarillonError("BAD_REQUEST", "wait for the answer to the request before it on this connection");
    const transport = new SseTransport(response);
    try {
      const connection = await this.#connect(request, transport);
      if (connection.state === "closed") return;
      transport.begin(heartbeatMs, () => this.#position(connection), headers);
      arrivals.welcome(connection);
    } catch (error) {
      throw arrivals.refusal(error);
    }
  }

  async #connect(request: IncomingMessage, transport: SseTransport): Promise<Connection> {
    const { hub, transports, hold, arrivals, admit } = this.#options;
    const query = new URLSearchParams(request.url?.split("?", 2)[1]);
    transports.add(transport);
    transport.onClose(hold(request));
    const principal = await identify(query, request.headers, { ...this.#options, use: streamOf(query) });
    const { channels, rooms } = this.#wanted(query, principal);
    const installationId = installationOf(query.get("installationId"));
    await admit(principal, transport);
    const socket = hub.member();
    const greeting = { socket: socket.id };
    const connection = new Connection({ socket, principal, style: hub.style, transport, installationId, greeting });
    transport.onClose(() => {
      arrivals.leave(connection);
      hub.remove(socket);
    });
    try {
      await this.#subscribe(connection, channels);
    } catch (error) {
      arrivals.leave(connection);
      throw error;
    }
    for (const [channel, room] of rooms) connection.addRoom(channel, room);
    await arrivals.arrive(connection, { offset: lastId(request, query) });
    if (connection.state !== "closed") hub.add(socket, connection);
    return connection;
  }

  /** Throws what one of them is refused with: a stream that silently lacked something would look like one with nothing to tell. */
  #wanted(query: URLSearchParams, principal: Principal): { channels: string[]; rooms: [string, string][] } {
    const { namespaces, policy, limits } = this.#options;
    const channels = [...new Set(query.getAll("channel").map((name) => parseChannel(name, namespaces)))];
    if (channels.length === 0) throw new CarillonError("INVALID_REQUEST", "name at least one channel: ?channel=chat");
    if (channels.length > limits.subscriptions)
      throw new CarillonError("TOO_MANY_SUBSCRIPTIONS", `at most ${limits.subscriptions} channels on one connection`);
    for (const channel of channels)
      if (!policy.mayHear(principal, channel)) throw new CarillonError("FORBIDDEN", `not allowed: channel ${channel}`);
    const names = [...new Set(query.getAll("room").map(parseEntityRoom))];
    const rooms = channels.flatMap((channel) => names.map((room): [string, string] => [channel, room]));
    if (rooms.length > limits.rooms) throw new CarillonError("TOO_MANY_ROOMS", `at most ${limits.rooms} rooms`);
    for (const [channel, room] of rooms)
      if (!policy.mayJoin(principal, channel, room))
        throw new CarillonError("FORBIDDEN", `not allowed: room ${room} of channel ${channel}`);
    return { channels, rooms };
  }

  async #subscribe(connection: Connection, channels: readonly string[]): Promise<void> {
    const acquired = await Promise.allSettled(
      channels.map(async (channel) => {
        const release = await this.#options.interest.acquire(channel);
        if (connection.state === "closed") release();
        else connection.channels.set(channel, { release, active: true, recovered: false });
      }),
    );
    for (const result of acquired) if (result.status === "rejected") throw result.reason;
  }

  #position(connection: Connection): string | undefined {
    return connection.state === "live" ? formatId(this.#options.settled(connection)) : undefined;
  }
}

/** What a ticket that began this stream opens again: neither other channels nor other rooms. */
function streamOf(query: URLSearchParams): TicketUse {
  const carried = ["channel", "room"].map((name) => query.getAll(name).sort());
  return `stream:${createHash("sha256").update(JSON.stringify(carried)).digest("base64url")}`;
}

/** A browser that comes back says what it heard last in a header, and the URL is still the first one. */
function lastId({ headers }: IncomingMessage, query: URLSearchParams): unknown {
  return headers["last-event-id"] || query.get("since") || undefined;
}
