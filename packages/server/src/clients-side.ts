/**
 * Everything between a node's log and its clients, of every kind: the gateway with what it needs to make connections whole and keep
 * them so, their requests and limits, and the doors by which they come in.
 */
import type { Server as HttpServer, IncomingMessage } from "node:http";
import type { History, Interest, Log, Logger, Meter, Publisher, Ring, Sequencer } from "@carillon/core";
import { CHANNEL_NAMESPACES, type Position } from "@carillon/protocol";
import type { Auth } from "./auth/build.ts";
import type { Principal } from "./auth/principal.ts";
import type { Backbone } from "./backbone.ts";
import { Admission } from "./gateway/admission.ts";
import type { Attendance } from "./gateway/attendance.ts";
import { CatchUp } from "./gateway/catch-up.ts";
import type { Connection } from "./gateway/connection.ts";
import { CredentialWatch } from "./gateway/credential-watch.ts";
import type { EngineConnection } from "./gateway/engine.ts";
import { Gateway } from "./gateway/gateway.ts";
import { companionsOf } from "./gateway/hubs.ts";
import { incomingWatch } from "./gateway/incoming.ts";
import { attachWithGate, createIoServer, type Gate, refusalOfNew } from "./gateway/io-server.ts";
import { Laggards } from "./gateway/laggards.ts";
import { plainCodec } from "./gateway/plain/codec.ts";
import { PlainDoor } from "./gateway/plain/door.ts";
import { PlainHub } from "./gateway/plain/hub.ts";
import { Replay } from "./gateway/replay.ts";
import { Requests } from "./gateway/requests.ts";
import { SessionKeeper } from "./gateway/session-keeper.ts";
import { sessionIds } from "./gateway/sid.ts";
import { Spread } from "./gateway/spread.ts";
import { sseCodec } from "./gateway/sse/codec.ts";
import { Streams } from "./gateway/sse/streams.ts";
import type { Transport } from "./gateway/transport.ts";
import { Transports } from "./gateway/transports.ts";
import { isOriginAllowed } from "./http/origins.ts";
import { Addresses } from "./limits/addresses.ts";
import { MessageRate } from "./limits/message-rate.ts";
import type { PublishQuotas } from "./limits/publish-quotas.ts";
import { UserConnections } from "./limits/users.ts";
import type { Health } from "./ops/health.ts";
import type { Settings } from "./settings/load.ts";

export interface ClientsSideOptions {
  readonly settings: Settings;
  /** This node's name. */
  readonly node: string;
  readonly backbone: Pick<Backbone, "adapter" | "seats" | "sessions">;
  readonly auth: Auth;
  readonly log: Log;
  readonly ring: Ring;
  readonly sequencer: Sequencer;
  readonly history: History;
  readonly publisher: Publisher;
  readonly interest: Interest;
  readonly quotas: PublishQuotas;
  readonly attendance: Attendance;
  /** Events of the notification service that a client has shown. */
  readonly seen: (connection: Connection, eventIds: readonly string[]) => void;
  readonly health: Pick<Health, "state">;
  /** The port of this node's pages, where sockets have one of their own. */
  readonly pagePort: () => number | undefined;
  readonly meter: Meter;
  readonly logger: Logger;
}

/** Bytes of a client's message beyond its payload. Generous, so that what is too large is answered and not cut off. */
const MESSAGE_OVERHEAD_BYTES = 256 * 1024;
const CATCH_UP_MAX_BYTES = 16 * 1024 * 1024;
const CATCH_UP_MAX_HELD_BYTES = 256 * 1024 * 1024;
const REPLAY_MAX_BYTES = 4 * 1024 * 1024;
const SLICE_SIZE = 5000;
/** A client asks for everything that it wants in one breath when it connects. */
const MESSAGES_BURST_S = 5;
const POLLING_CLOSE_TIMEOUT_MS = 2000;

interface OpenedEngine extends EngineConnection {
  request: IncomingMessage;
  readonly transport: EngineConnection["transport"] & { closeTimeout?: number };
  once(event: "close", listener: () => void): void;
}

export class ClientsSide {
  readonly gateway: Gateway;
  readonly transports: Transports;
  /** Of server-sent events; opened by a route. */
  readonly streams: Streams;
  readonly #io: ReturnType<typeof createIoServer>;
  readonly #watchIncoming: (engine: EngineConnection) => void;
  readonly #door: PlainDoor;
  readonly #gate: Gate;
  readonly #stickyRoute: string;
  readonly #addresses: Addresses;
  readonly #users: UserConnections;
  readonly #sessions: SessionKeeper;
  readonly #spread: Spread;
  readonly #credentials: CredentialWatch;

  constructor(options: ClientsSideOptions) {
    const { settings, node, backbone, auth, log, ring, sequencer, history, publisher, interest } = options;
    const { quotas, attendance, seen, pagePort, meter, logger } = options;
    const { limits, logMaxEntries, highWaterBytes, pingIntervalMs, pingTimeoutMs, connectTimeoutMs } = settings;
    const { authenticator, policy, tickets, revocations } = auth;
    const namespaces = new Set(settings.namespaces);
    const maxMessageBytes = settings.maxPayloadBytes + MESSAGE_OVERHEAD_BYTES;
    const maxUnsentBytes = 2 * highWaterBytes + REPLAY_MAX_BYTES;
    const perConnection = {
      subscriptions: settings.maxSubscriptionsPerConnection,
      rooms: settings.maxRoomsPerConnection,
    };

    const io = createIoServer({
      adapter: backbone.adapter,
      pingIntervalMs,
      pingTimeoutMs,
      connectTimeoutMs,
      maxMessageBytes,
      corsOrigins: settings.corsOrigins,
      pagePort,
    });
    const transports = new Transports(io);
    const users = new UserConnections({ max: limits.connectionsPerUser, seats: backbone.seats, meter, logger });
    const addresses = new Addresses({ max: limits.connectionsPerAddress, trustProxy: settings.trustProxy });
    const admit = async ({ kind, user }: Principal, transport: Transport) => {
      if (kind === "user" && user !== undefined) await users.admit(user, transport);
    };

    const settled = (connection: Connection) => gateway.settled(connection);
    const spreadMs = (connection: Connection, channel?: string) => gateway.spreadMs(connection, channel);
    const inMemory = (position: Position) => ring.after(position) !== undefined;
    const laggards = new Laggards({ log, inMemory, here: () => sequencer.position, meter, logger });
    const sessions = new SessionKeeper({
      sessions: backbone.sessions,
      policy,
      settled,
      logger,
      retentionMs: settings.logRetentionS * 1000,
      logMaxEntries,
    });
    const replay = new Replay({ history, log, sequencer, settled, spreadMs, meter, maxBytes: REPLAY_MAX_BYTES });
    const catchUp = new CatchUp({
      history,
      log,
      sequencer,
      laggards,
      inMemory,
      spreadMs,
      highWaterMarkBytes: highWaterBytes,
      maxBytes: CATCH_UP_MAX_BYTES,
      maxHeldBytes: CATCH_UP_MAX_HELD_BYTES,
      meter,
      logger,
    });
    const spread = new Spread({
      budgetPerS: settings.refetchBudgetPerS,
      nodes: () => io.of("/").adapter.serverCount(),
    });
    const burst = MESSAGES_BURST_S * limits.messagesPerS;
    const requests = new Requests({
      namespaces,
      policy,
      interest,
      sessions,
      replay,
      publisher,
      publishing: settings.ingress.has("clients"),
      rate: new MessageRate({ perSecond: limits.messagesPerS, burst }),
      quota: ({ kind, user }) => quotas.publish({ kind, name: user ?? "" }),
      hooks: {
        state: (connection, foreground) => attendance.said(connection, foreground),
        seen,
        refreshAuth: (connection, token) => credentials.renew(connection, token),
      },
      limits: { ...perConnection, unsentBytes: maxUnsentBytes },
      meter,
      logger,
    });
    const wsHub = new PlainHub("ws", plainCodec);
    const eventsHub = new PlainHub("events", sseCodec);
    const gateway: Gateway = new Gateway({
      io,
      node,
      refreshNamespaces: settings.namespaces,
      channelNamespaces: CHANNEL_NAMESPACES,
      plainHubs: [wsHub, eventsHub],
      authenticator,
      policy,
      revocations,
      sequencer,
      catchUp,
      laggards,
      requests,
      sessions,
      spread,
      interest,
      attendance,
      admit,
      sliceSize: SLICE_SIZE,
      highWaterMarkBytes: highWaterBytes,
      meter,
      logger,
    });
    const credentials = new CredentialWatch({
      authenticator,
      policy,
      connections: () => gateway.everyone(),
      companions: companionsOf,
      save: (connection) => sessions.save(connection),
      meter,
      logger,
    });
    revocations.onRevoked((revocation) => credentials.revoked(revocation));

    const gate = gateOf(options, transports, addresses);
    const plain = {
      authenticator,
      tickets,
      arrivals: gateway.arrivals,
      admit,
      hold: (request: IncomingMessage) => addresses.hold(request),
      transports,
    };

    this.gateway = gateway;
    this.transports = transports;
    this.streams = new Streams({
      ...plain,
      hub: eventsHub,
      namespaces,
      policy,
      interest,
      settled,
      refuse: (request) => refusalOfNew(request, gate),
      limits: perConnection,
      heartbeatMs: pingIntervalMs,
    });
    this.#door = new PlainDoor({
      ...plain,
      hub: wsHub,
      requests,
      open: settings.auth.mode === "off",
      connectTimeoutMs,
      heartbeat: { everyMs: pingIntervalMs, timeoutMs: pingTimeoutMs },
      maxFrameBytes: maxMessageBytes,
      maxUnsentBytes,
      meter,
    });
    this.#io = io;
    this.#watchIncoming = incomingWatch({
      maxUnsentBytes,
      // All namespaces at once are no burst.
      rate: new MessageRate({
        perSecond: limits.messagesPerS,
        burst: burst + namespaces.size + CHANNEL_NAMESPACES.length,
      }),
      meter,
    });
    this.#gate = gate;
    this.#stickyRoute = settings.stickyRoute;
    this.#addresses = addresses;
    this.#users = users;
    this.#sessions = sessions;
    this.#spread = spread;
    this.#credentials = credentials;
  }

  start(): void {
    this.#credentials.start();
    this.#users.start();
  }

  /** Lets clients in by `server`. */
  attach(server: HttpServer): void {
    attachWithGate(this.#io, server, this.#gate, sessionIds(this.#stickyRoute), this.#door);
    this.#io.engine.on("connection", (engine: OpenedEngine) => {
      engine.once("close", this.#addresses.hold(engine.request));
      this.#watchIncoming(engine);
      // Or who handshakes by polling and never polls would hold a place for half a minute after it was told to go.
      engine.transport.closeTimeout = POLLING_CLOSE_TIMEOUT_MS;
    });
  }

  /** Ends what runs by the clock; connections stay. */
  stop(): void {
    this.#credentials.stop();
    this.#users.stop();
    this.#sessions.stop();
    this.#spread.stop();
  }

  /** Ends the connections that are left. */
  async close(): Promise<void> {
    await this.#io.close();
  }
}

/** Who may come in, by whichever door: pages that are listed, and new transports while the node is ready and has room for them. */
function gateOf(
  { settings, auth, sequencer, health, pagePort, meter }: ClientsSideOptions,
  transports: Transports,
  addresses: Addresses,
): Gate {
  const admission = new Admission({
    closed: () => {
      if (health.state === "draining") return "DRAINING";
      const ready = health.state !== "starting" && sequencer.position !== undefined && auth.revocations.loaded;
      return ready ? undefined : "NOT_READY";
    },
    open: () => transports.open,
    maxConnections: settings.maxConnections,
    perSecond: settings.connectsPerS,
    meter,
  });
  return {
    allows: ({ headers: { origin, host } }) => isOriginAllowed(origin, host, settings.corsOrigins, pagePort()),
    refuse: (request) => {
      const refusal = addresses.refuse(request);
      if (refusal === undefined) return admission.refuse();
      meter.count("handshakes", 1, { outcome: "TOO_MANY_OF_ADDRESS" });
      return refusal;
    },
  };
}
