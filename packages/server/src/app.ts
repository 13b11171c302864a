/** All the wiring of a node, and nothing else: parts are made, handed to each other, started and stopped here. */
import { createServer, type Server as HttpServer } from "node:http";
import type { AddressInfo } from "node:net";
import { History, Interest, Publisher, Relay, Ring, Sequencer } from "@carillon/core";
import { CarillonError, CHANNEL_NAMESPACES, type Publication, parseId } from "@carillon/protocol";
import type { Logger as PinoLogger } from "pino";
import { type Auth, buildAuth } from "./auth/build.ts";
import { buildBackbone } from "./backbone.ts";
import { ClientsSide } from "./clients-side.ts";
import { ClusterSide } from "./cluster-side.ts";
import { drain, stopInOrder } from "./drain.ts";
import { mayRead } from "./gateway/audience.ts";
import { answer, isUpgrade } from "./gateway/io-server.ts";
import { buildHttp, buildMetricsHttp, httpLimits } from "./http/app.ts";
import type { HttpDeps } from "./http/deps.ts";
import { customChannels, nonsenseReporter, redisInterpreter } from "./ingress.ts";
import { PublishQuotas } from "./limits/publish-quotas.ts";
import { Quota, WINDOW_S } from "./limits/quota.ts";
import { Health } from "./ops/health.ts";
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

/** Leaves some of the time between a signal and the exit to the process itself. */
const STOP_RESERVE_MS = 250;
/** How long the first connections wait for feeds to settle, so that no client hears of gaps from before its time. */
const SETTLE_TIMEOUT_MS = 5000;
const LISTENING_TIMEOUT_MS = 3000;
/** Clients of a dead node come all at once; one that is dropped here tries again after seconds that double. The kernel has its own bound. */
const LISTEN_BACKLOG = 4096;
const REACH_TIMEOUT_MS = 2000;
/** How long a subscriber waits for LISTEN. */
const LISTEN_TIMEOUT_MS = 3000;
const TICKETS_PER_USER_PER_S = 5;

/** Resolves once the node listens. Redis or Postgres may still be away: readiness says so. Rejects on what no waiting helps. */
export async function startApp(settings: Settings, node: string, logger: PinoLogger): Promise<App> {
  const parts = makeParts(settings, node, logger);
  const { meter, backbone, ring, sequencer, auth, clients, cluster, relay, postgres, push } = parts;
  const { http, wsServer, metricsHttp } = parts;
  backbone.bus.listen(sequencer);
  auth.revocations.start();
  clients.start();
  backbone.start();
  cluster.start();
  relay?.start();
  const stopSampling = sampleGauges({
    meter,
    sequencer,
    ring,
    gateway: clients.gateway,
    transports: clients.transports,
  });
  await http.listen({ port: settings.port, host: settings.host, backlog: LISTEN_BACKLOG });
  if (wsServer !== undefined) await listen(wsServer, settings.wsPort ?? 0, settings.host);
  await metricsHttp?.listen({ port: settings.metricsPort ?? 0, host: settings.host });
  const fatal = postgres?.start();
  const ready = becomeReady(parts);
  await fatal;
  // Its tables are there now, unless Postgres is away.
  push?.start();
  // Whoever starts a node by its log finds it ready in the ordinary case, and alive in any case.
  await Promise.race([ready, new Promise((resolve) => setTimeout(resolve, LISTENING_TIMEOUT_MS))]);

  return { port: portOf(http.server)!, wsPort: portOf(wsServer), stop: () => stop(parts, stopSampling) };
}

async function becomeReady({ sequencer, backbone, relay, postgres, health, cluster, logger }: Parts): Promise<void> {
  await sequencer.start();
  warnOfProblems(backbone, logger);
  const deadline = performance.now() + SETTLE_TIMEOUT_MS;
  const settled = () => (relay === undefined || relay.synced) && (postgres === undefined || postgres.settled);
  while (!settled() && performance.now() < deadline) await new Promise((resolve) => setTimeout(resolve, 20));
  health.enter("ready");
  cluster.changed();
  logger.info({}, "ready");
}

function warnOfProblems(backbone: Parts["backbone"], logger: PinoLogger): void {
  backbone.probe().then(
    (problems) => {
      for (const problem of problems) logger.error({ ...problem }, "Redis is not set up as it must be");
    },
    (error: unknown) => logger.debug({ err: error }, "Redis could not be probed"),
  );
}

async function stop(parts: Parts, stopSampling: () => void): Promise<void> {
  const { settings, meter, logger, health, backbone, sequencer, publisher, auth, interest } = parts;
  const { cluster, clients, relay, postgres, push, http, metricsHttp } = parts;
  const timeoutMs = settings.drainTimeoutS * 1000;
  const deadlineMs = performance.now() + timeoutMs - Math.min(STOP_RESERVE_MS, timeoutMs / 4);
  health.enter("draining");
  cluster.changed();
  await drain({
    timeoutMs,
    delayMs: settings.drainDelayS * 1000,
    transports: clients.transports,
    inFlight: () => publisher.inFlight,
    meter,
    logger,
  });
  stopSampling();
  auth.revocations.stop();
  clients.stop();
  interest.stop();
  await stopInOrder(
    [
      ["relay", () => relay?.stop()],
      ["postgres", () => postgres?.stop()],
      ["cluster", () => cluster.stop()],
      ["leases", () => backbone.release()],
      ["connections", () => clients.close()],
      ["http", () => Promise.all([http.close(), metricsHttp?.close()])],
      ["push", () => push?.stop()],
    ],
    deadlineMs,
    logger,
  );
  sequencer.stop();
  backbone.close();
}

type Parts = ReturnType<typeof makeParts>;

/** Nothing runs yet. */
function makeParts(settings: Settings, node: string, logger: PinoLogger) {
  const meter = createMeter({
    labelValues: {
      namespace: [...settings.namespaces.map((name) => `/${name}`), ...CHANNEL_NAMESPACES, "ws", "events"],
    },
  });
  const health = new Health();
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
  const epoch = () => sequencer.position?.epoch;
  const onNonsense = nonsenseReporter(meter, logger);

  // Known once it listens; by then somebody may ask.
  const pagePort = () => (settings.wsPort === undefined ? undefined : portOf(http.server));
  const { revocations, tickets, quota: shared } = backbone;
  const auth = buildAuth({ settings, revocations, tickets, pagePort, meter, logger });

  const isCustom = customChannels(settings);
  const postgres = buildPostgres({ settings, backbone, publisher, epoch, isCustom, meter, logger, onNonsense });
  const quota = (name: string, perSecond: number) =>
    new Quota({ perSecond, shared: shared?.(name, perSecond * WINDOW_S), meter });
  const push = buildPush({ settings, quota: backbone.bucket("push", settings.push.perSecond), meter, logger });
  const interest = new Interest({
    registry: backbone.interest,
    isCustom: (channel) => postgres !== undefined && settings.ingress.has("postgres") && isCustom(channel),
    maxChannels: settings.maxListenChannels,
    confirmTimeoutMs: LISTEN_TIMEOUT_MS,
    logger,
  });

  const { limits } = settings;
  const quotas = new PublishQuotas({
    key: quota("publish", limits.publishesPerKeyPerS),
    user: quota("publish", limits.publishesPerUserPerS),
    ticket: quota("ticket", TICKETS_PER_USER_PER_S),
  });
  const cluster: ClusterSide = new ClusterSide({
    settings,
    backbone,
    node,
    health,
    sequencer,
    clients: () => clients,
    meter,
    logger,
  });
  const clients: ClientsSide = new ClientsSide({
    settings,
    node,
    backbone,
    auth,
    log,
    ring,
    sequencer,
    history,
    publisher,
    interest,
    quotas,
    attendance: cluster.attendance,
    seen: (connection, eventIds) => push?.seen(connection, eventIds),
    health,
    pagePort,
    meter,
    logger,
  });
  const serves = settings.roles.has("gateway");

  const http = buildHttp({
    settings,
    logger,
    meter,
    publisher,
    history: readableHistory(history, sequencer, auth.policy),
    auth: auth.callers,
    revoke: async (whom) => {
      await auth.revocations.revoke({ ...whom, beforeMs: Date.now() });
      await push?.devices.revoke(whom.user, whom.sid);
    },
    ...(push !== undefined && { push }),
    tickets: auth.tickets,
    quotas,
    ...(serves && { streams: clients.streams }),
    takesClients: (port) => wsServer === undefined || port === portOf(wsServer),
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
      : createServer(
          { ...httpLimits(limits), ...(serves && { shouldUpgradeCallback: isUpgrade }) },
          (request, response) => {
            if (/^\/(events|ws)(\?|$)/.test(request.url ?? "")) http.routing(request, response);
            else answer(request, response, new CarillonError("NOT_FOUND"));
          },
        );
  if (serves) clients.attach(wsServer ?? http.server);

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
          epoch,
          meter,
          logger,
        });

  return {
    settings,
    meter,
    logger,
    health,
    backbone,
    ring,
    sequencer,
    publisher,
    auth,
    interest,
    cluster,
    clients,
    relay,
    postgres,
    push,
    http,
    wsServer,
    metricsHttp,
  };
}

/** History for callers of REST: only what each may hear. */
function readableHistory(
  history: History,
  sequencer: Pick<Sequencer, "reach">,
  policy: Auth["policy"],
): HttpDeps["history"] {
  return {
    async read({ channel, since, limit, caller: { principal } }) {
      const position = parseId(since);
      // Whoever was answered by another node may be ahead of this one by a moment.
      if (position !== undefined) await sequencer.reach(position, REACH_TIMEOUT_MS);
      const audible = (publication: Publication) => principal === undefined || mayRead(principal, publication, policy);
      return history.read(channel, since, limit, audible);
    },
  };
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
