/** All the wiring of a node, and nothing else: parts are made, handed to each other, started and stopped here. */
import { createServer, type Server as HttpServer, type IncomingMessage } from "node:http";
import type { AddressInfo } from "node:net";
import { History, Interest, Publisher, Relay, Ring, Sequencer } from "@carillon/core";
import { CHANNEL_NAMESPACES, compilePattern, type Position, type Publication, parseId } from "@carillon/protocol";
import type { Logger as PinoLogger } from "pino";
import { buildAuth } from "./auth/build.ts";
import type { Principal } from "./auth/principal.ts";
import { mayRead } from "./auth/reading.ts";
import { buildBackbone } from "./backbone.ts";
import { ClusterSide } from "./cluster-side.ts";
import { drain, stopInOrder } from "./drain.ts";
import { Admission } from "./gateway/admission.ts";
import type { Carrier } from "./gateway/carrier.ts";
import { CatchUp } from "./gateway/catch-up.ts";
import type { Connection } from "./gateway/connection.ts";
import { Credentials } from "./gateway/credentials.ts";
import { Gateway } from "./gateway/gateway.ts";
import { forgetRequest } from "./gateway/handshakes.ts";
import { attachWithGate, createIoServer, refusalOfNew } from "./gateway/io-server.ts";
import { Laggards } from "./gateway/laggards.ts";
import { plainCodec } from "./gateway/plain/codec.ts";
import { PlainDoor } from "./gateway/plain/door.ts";
import { PlainHub } from "./gateway/plain/hub.ts";
import { Replay } from "./gateway/replay.ts";
import { noHooks, Requests } from "./gateway/requests.ts";
import { SessionKeeper } from "./gateway/session-keeper.ts";
import { sessionIds } from "./gateway/sid.ts";
import { Spread } from "./gateway/spread.ts";
import { sseCodec } from "./gateway/sse/codec.ts";
import { Streams } from "./gateway/sse/streams.ts";
import { Transports } from "./gateway/transports.ts";
import { buildHttp, buildMetricsHttp, httpLimits } from "./http/app.ts";
import { isOriginAllowed } from "./http/origins.ts";
import { redisInterpreter } from "./ingress.ts";
import { Addresses } from "./limits/addresses.ts";
import { MessageRate } from "./limits/message-rate.ts";
import { PublishQuotas } from "./limits/publish-quotas.ts";
import { Quota, WINDOW_S } from "./limits/quota.ts";
import { UserConnections } from "./limits/users.ts";
import { Health } from "./ops/health.ts";
import { LimitedLog } from "./ops/limited-log.ts";
import { createMeter } from "./ops/metrics.ts";
import { sampleGauges } from "./ops/sampler.ts";
import { buildPostgres } from "./postgres-side.ts";
import { buildPush } from "./push-side.ts";
import type { Settings } from "./settings/load.ts";

export interface App {
  readonly port: number;
  readonly wsPort: number | undefined;
  /** Leaves service: resolves when everything that was accepted is done and closed, or the time is over. */
  stop(): Promise<void>;
}

/** Bytes of a client's message beyond its payload. Generous, so that what is too large is answered and not cut off. */
const MESSAGE_OVERHEAD_BYTES = 256 * 1024;
const CATCH_UP_MAX_BYTES = 16 * 1024 * 1024;
const CATCH_UP_MAX_HELD_BYTES = 256 * 1024 * 1024;
const REPLAY_MAX_BYTES = 4 * 1024 * 1024;
/** Leaves some of the time between a signal and the exit to the process itself. */
const STOP_RESERVE_MS = 250;
/** How long the first connections wait for feeds to settle, so that no client hears of gaps from before its time. */
const SETTLE_TIMEOUT_MS = 5000;
const LISTENING_TIMEOUT_MS = 3000;
/** Clients of a dead node come all at once; one that is dropped here tries again after seconds that double. The kernel has its own bound. */
const LISTEN_BACKLOG = 4096;
const REACH_TIMEOUT_MS = 2000;
/** A client asks for everything that it wants in one breath when it connects. */
const MESSAGES_BURST_S = 5;
const TICKETS_PER_USER_PER_S = 5;
const POLLING_CLOSE_TIMEOUT_MS = 2000;

interface OpenedEngine {
  request: IncomingMessage;
  readonly transport: { closeTimeout?: number };
  once(event: "close", listener: () => void): void;
}

/** Resolves once the node listens. Redis or Postgres may still be away: readiness says so. Rejects on what no waiting helps. */
export async function startApp(settings: Settings, node: string, logger: PinoLogger): Promise<App> {
  const meter = createMeter({
    labelValues: {
      namespace: [...settings.namespaces.map((name) => `/${name}`), ...CHANNEL_NAMESPACES, "ws", "events"],
    },
  });
  const health = new Health();
  const limited = new LimitedLog(logger);
  const backbone = buildBackbone({ settings, node, meter, logger });
  const { log, bus } = backbone;

  const ring = new Ring({ maxEntries: settings.ringMaxEntries, maxBytes: settings.ringMaxBytes });
  const sequencer = new Sequencer({ log, ring, meter, logger, preload: settings.ringMaxEntries });
  const history = new History({ log, ring, meter, position: () => sequencer.position });
  const publisher = new Publisher({
    log,
    meter,
    coalesceMs: settings.coalesceMs,
    maxPayloadBytes: settings.maxPayloadBytes,
  });
  const namespaces = new Set(settings.namespaces);
  const onNonsense = (ingress: "redis" | "postgres", channel: string) => {
    meter.count("feedDropped", 1, { feed: ingress === "redis" ? "redis" : "notify", reason: "not_understood" });
    limited.warn(`nonsense ${ingress} ${channel}`, { ingress, channel }, "a message was not understood and dropped");
  };

  // Known once it listens; by then somebody may ask.
  const pagePort = () => (settings.wsPort === undefined ? undefined : portOf(http.server));
  const { revocations, tickets, seats, quota: shared } = backbone;
  const auth = buildAuth({ settings, revocations, tickets, pagePort, meter, logger });
  const { policy } = auth;

  const listensAlways = new Set(settings.pgChannels);
  const allowedCustom = compilePattern(settings.pgCustomChannels);
  const isCustom = (channel: string) =>
    !namespaces.has(channel) && !listensAlways.has(channel) && allowedCustom(channel);
  const postgres = buildPostgres({
    settings,
    backbone,
    publisher,
    epoch: () => sequencer.position?.epoch,
    isCustom,
    meter,
    logger,
    onNonsense,
  });
  const quota = (name: string, perSecond: number) =>
    new Quota({ perSecond, shared: shared?.(name, perSecond * WINDOW_S), meter });
  const push = buildPush({ settings, quota: quota("push", settings.push.perSecond), meter, logger });
  const interest = new Interest({
    registry: backbone.interest,
    isCustom: (channel) => postgres !== undefined && settings.ingress.has("postgres") && isCustom(channel),
    maxChannels: settings.maxListenChannels,
    confirmTimeoutMs: 3000,
    logger,
  });

  const io = createIoServer({
    adapter: backbone.adapter,
    pingIntervalMs: settings.pingIntervalMs,
    pingTimeoutMs: settings.pingTimeoutMs,
    connectTimeoutMs: settings.connectTimeoutMs,
    maxMessageBytes: settings.maxPayloadBytes + MESSAGE_OVERHEAD_BYTES,
    corsOrigins: settings.corsOrigins,
    pagePort,
  });
  const transports = new Transports(io);
  const { limits } = settings;
  const quotas = new PublishQuotas({
    key: quota("publish", limits.publishesPerKeyPerS),
    user: quota("publish", limits.publishesPerUserPerS),
    ticket: quota("ticket", TICKETS_PER_USER_PER_S),
  });
  const users = new UserConnections({ max: limits.connectionsPerUser, seats, meter, logger });
  const addresses = new Addresses({ max: limits.connectionsPerAddress, trustProxy: settings.trustProxy });
  const settled = (connection: Connection) => gateway.settled(connection);
  const spreadMs = (connection: Connection, channel?: string) => gateway.spreadMs(connection, channel);
  const { logMaxEntries, highWaterBytes } = settings;
  const inMemory = (position: Position) => ring.after(position) !== undefined;
  const laggards = new Laggards({
    log,
    inMemory,
    here: () => sequencer.position,
    meter,
    logger,
  });
  const sessions = new SessionKeeper({
    sessions: backbone.sessions,
    policy,
    settled,
    logger,
    retentionMs: settings.logRetentionS * 1000,
    logMaxEntries,
  });
  const replay = new Replay({ history, log, sequencer, settled, spreadMs, meter, maxBytes: REPLAY_MAX_BYTES });
  const spread = new Spread({ budgetPerS: settings.refetchBudgetPerS, nodes: () => io.of("/").adapter.serverCount() });
  const cluster = new ClusterSide({
    settings,
    backbone,
    node,
    health,
    sequencer,
    transports,
    gateway: () => gateway,
    meter,
    logger,
  });
  const wsHub = new PlainHub("ws", plainCodec);
  const eventsHub = new PlainHub("events", sseCodec);
  const maxUnsentBytes = 2 * highWaterBytes + REPLAY_MAX_BYTES;
  const requests = new Requests({
    namespaces,
    policy,
    interest,
    sessions,
    replay,
    publisher,
    publishing: settings.ingress.has("clients"),
    rate: new MessageRate({ perSecond: limits.messagesPerS, burst: MESSAGES_BURST_S * limits.messagesPerS }),
    quota: ({ kind, user }) => quotas.publish({ kind, name: user ?? "" }),
    hooks: {
      ...noHooks,
      state: (connection, foreground) => cluster.attendance.said(connection, foreground),
      seen: (connection, eventIds) => push?.seen(connection, eventIds),
      refreshAuth: (connection, token) => credentials.renew(connection, token),
    },
    limits: {
      subscriptions: settings.maxSubscriptionsPerConnection,
      rooms: settings.maxRoomsPerConnection,
      unsentBytes: maxUnsentBytes,
    },
    meter,
    logger,
    limitedLog: limited,
  });
  const admit = async ({ kind, user }: Principal, transport: Carrier) => {
    if (kind === "user" && user !== undefined) await users.admit(user, transport);
  };
  const gateway: Gateway = new Gateway({
    io,
    node,
    refreshNamespaces: settings.namespaces,
    channelNamespaces: CHANNEL_NAMESPACES,
    plainHubs: [wsHub, eventsHub],
    authenticator: auth.authenticator,
    policy,
    sequencer,
    catchUp: new CatchUp({
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
    }),
    laggards,
    requests,
    sessions,
    spread,
    interest,
    attendance: cluster.attendance,
    admit,
    sliceSize: 5000,
    highWaterMarkBytes: highWaterBytes,
    meter,
    logger,
  });
  const credentials = new Credentials({
    authenticator: auth.authenticator,
    policy,
    connections: () => gateway.everyone(),
    save: (connection) => sessions.save(connection),
    meter,
    logger,
  });
  auth.revocations.onRevoked((revocation) => credentials.revoked(revocation));
  const admission = new Admission({
    closed: () =>
      health.state === "draining"
        ? "DRAINING"
        : health.state === "starting" || sequencer.position === undefined || !auth.revocations.loaded
          ? "NOT_READY"
          : undefined,
    open: () => transports.open,
    maxConnections: settings.maxConnections,
    perSecond: settings.connectsPerS,
    meter,
  });

  const gate = {
    allows: ({ headers: { origin, host } }: IncomingMessage) =>
      isOriginAllowed(origin, host, settings.corsOrigins, pagePort()),
    refuse: (request: IncomingMessage) => {
      const refusal = addresses.refuse(request);
      if (refusal === undefined) return admission.refuse();
      meter.count("handshakes", 1, { outcome: "TOO_MANY_OF_ADDRESS" });
      return refusal;
    },
  };
  const plain = {
    authenticator: auth.authenticator,
    tickets: auth.tickets,
    arrivals: gateway.arrivals,
    admit,
    hold: (request: IncomingMessage) => addresses.hold(request),
    transports,
  };
  const serves = settings.roles.has("gateway");
  const streams = new Streams({
    ...plain,
    hub: eventsHub,
    namespaces,
    policy,
    interest,
    settled,
    refuse: (request) => refusalOfNew(request, gate),
    limits: { subscriptions: settings.maxSubscriptionsPerConnection, rooms: settings.maxRoomsPerConnection },
    heartbeatMs: settings.pingIntervalMs,
  });

  const http = buildHttp({
    settings,
    logger,
    meter,
    publisher,
    history: {
      read: async ({ channel, since, limit, caller: { principal } }) => {
        const position = parseId(since);
        // Whoever was answered by another node may be ahead of this one by a moment.
        if (position !== undefined) await sequencer.reach(position, REACH_TIMEOUT_MS);
        const audible = (publication: Publication) =>
          principal === undefined || mayRead(principal, publication, policy);
        return history.read(channel, since, limit, audible);
      },
    },
    auth: auth.callers,
    revoke: async (whom) => {
      await auth.revocations.revoke({ ...whom, beforeMs: Date.now() });
      await push?.devices.revoke(whom.user, whom.sid);
    },
    ...(push !== undefined && { push }),
    tickets: auth.tickets,
    quotas,
    ...(serves && { streams }),
    health,
    presence: backbone.presence,
    cluster,
    ...(settings.metricsPort === undefined && { metrics: meter }),
    ...(settings.auth.mode === "off" && {
      demo: { wsPort: () => portOf(wsServer), ...(postgres !== undefined && { examples: postgres.examples }) },
    }),
  });
  const metricsHttp =
    settings.metricsPort === undefined ? undefined : buildMetricsHttp({ logger, meter, health, metrics: meter });
  const wsServer =
    settings.wsPort === undefined
      ? undefined
      : createServer(httpLimits(limits), (request, response) => {
          if (/^\/(events|ws)(\?|$)/.test(request.url ?? "")) http.routing(request, response);
          else response.writeHead(404).end();
        });
  if (serves) {
    const door = new PlainDoor({
      ...plain,
      hub: wsHub,
      requests,
      open: settings.auth.mode === "off",
      connectTimeoutMs: settings.connectTimeoutMs,
      heartbeat: { everyMs: settings.pingIntervalMs, timeoutMs: settings.pingTimeoutMs },
      maxFrameBytes: settings.maxPayloadBytes + MESSAGE_OVERHEAD_BYTES,
      maxUnsentBytes,
      meter,
    });
    attachWithGate(io, wsServer ?? http.server, gate, sessionIds(settings.stickyRoute), door);
    io.engine.on("connection", (engine: OpenedEngine) => {
      engine.once("close", addresses.hold(engine.request));
      forgetRequest(engine);
      // Or who handshakes by polling and never polls would hold a place for half a minute after it was told to go.
      engine.transport.closeTimeout = POLLING_CLOSE_TIMEOUT_MS;
    });
  }

  health.add("bus", "down", () => {
    if (sequencer.position === undefined) return { status: "down", reason: "the bus has not been reached yet" };
    return bus.hearing ? { status: "ok" } : { status: "down", reason: "nothing is heard from the bus" };
  });
  postgres?.addChecks(health);
  push?.addChecks(health);

  const relay =
    backbone.ingress === undefined
      ? undefined
      : new Relay({
          ...backbone.ingress,
          publisher,
          log,
          ingress: "redis",
          interpret: redisInterpreter(settings, onNonsense),
          affected: () => settings.namespaces,
          epoch: () => sequencer.position?.epoch,
          meter,
          logger,
        });

  bus.listen(sequencer);
  auth.revocations.start();
  credentials.start();
  users.start();
  backbone.start();
  cluster.start();
  relay?.start();
  const stopSampling = sampleGauges({ meter, sequencer, ring, gateway, transports });
  await http.listen({ port: settings.port, host: settings.host, backlog: LISTEN_BACKLOG });
  if (wsServer !== undefined) await listen(wsServer, settings.wsPort ?? 0, settings.host);
  await metricsHttp?.listen({ port: settings.metricsPort ?? 0, host: settings.host });
  const fatal = postgres?.start();
  push?.start();
  const ready = becomeReady();
  await fatal;
  // Whoever starts a node by its log finds it ready in the ordinary case, and alive in any case.
  await Promise.race([ready, new Promise((resolve) => setTimeout(resolve, LISTENING_TIMEOUT_MS))]);

  return { port: portOf(http.server)!, wsPort: portOf(wsServer), stop };

  async function becomeReady(): Promise<void> {
    await sequencer.start();
    warnOfProblems();
    const deadline = performance.now() + SETTLE_TIMEOUT_MS;
    const settled = () => (relay === undefined || relay.synced) && (postgres === undefined || postgres.settled);
    while (!settled() && performance.now() < deadline) await new Promise((resolve) => setTimeout(resolve, 20));
    health.enter("ready");
    cluster.changed();
    logger.info({}, "ready");
  }

  function warnOfProblems(): void {
    backbone.probe().then(
      (problems) => {
        for (const problem of problems) logger.error({ ...problem }, "Redis is not set up as it must be");
      },
      (error: unknown) => logger.debug({ err: error }, "Redis could not be probed"),
    );
  }

  async function stop(): Promise<void> {
    const timeoutMs = settings.drainTimeoutS * 1000;
    const deadlineMs = performance.now() + timeoutMs - Math.min(STOP_RESERVE_MS, timeoutMs / 4);
    health.enter("draining");
    cluster.changed();
    await drain({
      timeoutMs,
      delayMs: settings.drainDelayS * 1000,
      transports,
      inFlight: () => publisher.inFlight,
      meter,
      logger,
    });
    stopSampling();
    auth.revocations.stop();
    credentials.stop();
    users.stop();
    interest.stop();
    sessions.stop();
    spread.stop();
    await stopInOrder(
      [
        ["relay", () => relay?.stop()],
        ["postgres", () => postgres?.stop()],
        ["cluster", () => cluster.stop()],
        ["leases", () => backbone.release()],
        ["connections", () => io.close()],
        ["http", () => Promise.all([http.close(), metricsHttp?.close()])],
        ["push", () => push?.stop()],
      ],
      deadlineMs,
      logger,
    );
    sequencer.stop();
    backbone.close();
  }
}

function portOf(server: HttpServer | undefined): number | undefined {
  return (server?.address() as AddressInfo | null | undefined)?.port;
}

function listen(server: HttpServer, port: number, host: string): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once("error", reject);
    server.listen({ port, host, backlog: LISTEN_BACKLOG }, () => resolve());
  });
}
