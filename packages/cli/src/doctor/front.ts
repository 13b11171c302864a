/** What stands between clients and nodes: stickiness, upgrades, buffering, time limits. */
import { once } from "node:events";
import type { Socket } from "node:net";
import { reasonOf } from "../failure.ts";
import { DOCS, type Finding, ok, problem, skipped, warning } from "./finding.ts";
import { firstBytes, upgrade } from "./http.ts";
import { DOCTOR } from "./identity.ts";
import { PollingSession, Refused, SessionLost } from "./polling.ts";

export interface FrontOptions {
  readonly url: URL;
  /** A user's token, or none under `AUTH=off`. */
  readonly token: string | undefined;
  /** Whether to hold a connection until its first heartbeat. */
  readonly wait: boolean;
}

/** With two nodes and no stickiness, one session in four is lucky three times. */
const SESSIONS = 8;
/** nginx's own limit of silence is a minute; others have less. */
const LONG_HEARTBEAT_MS = 50_000;
const FIRST_EVENT_MS = 3_000;
const STOCK = "/socket.io/?EIO=4&transport=websocket";

export async function checkFront(options: FrontOptions): Promise<readonly Finding[]> {
  const { url } = options;
  let heartbeatMs: number;
  try {
    const session = await PollingSession.open(url);
    heartbeatMs = session.handshake.pingInterval;
    await session.close();
  } catch (error) {
    return [refused(url, error)];
  }
  const parts = await Promise.all([
    checkPolling(url),
    checkUpgrade(url),
    checkEvents(options),
    checkHeartbeat(options, heartbeatMs),
  ]);
  return parts.flat();
}

function refused(url: URL, error: unknown): Finding {
  if (!(error instanceof Refused)) {
    return problem("front", `no Socket.IO handshake at ${url.origin}: ${reasonOf(error)}`, {
      fix: "start a node there, or correct --url",
      docs: DOCS.nginx,
    });
  }
  const { status } = error.answer;
  const what = `${url.origin} answers the Socket.IO handshake with ${status}`;
  if (status === 503) {
    return problem("front", `${what}: no node takes clients now`, {
      fix: "see what /readyz of each node says (--node): it starts, drains, is full, or does not hear its bus",
      docs: DOCS.notReady,
    });
  }
  return problem("front", what, {
    fix: "let the balancer pass /socket.io/ to the nodes, and let those have the role gateway (ROLES) on this port (WS_PORT)",
    docs: DOCS.nginx,
  });
}

async function checkPolling(url: URL): Promise<Finding> {
  const check = "front.sticky";
  const bare = await lostOf(url, false);
  if (bare.failure !== undefined) {
    return problem(check, `long polling does not work through ${url.origin}: ${bare.failure}`, {
      fix: "let the balancer pass GET and POST on /socket.io/ unchanged",
      docs: DOCS.nginx,
    });
  }
  if (bare.lost === 0) return ok(check, `polling sessions stay with their node, without cookies (${SESSIONS} tried)`);
  const withCookies = await lostOf(url, true);
  if (withCookies.lost === 0 && withCookies.failure === undefined) {
    return warning(
      check,
      `polling sticks for browsers alone: ${bare.lost} of ${SESSIONS} sessions without cookies were lost`,
      {
        fix: "set STICKY_ROUTE=auto for the nodes and route by the session id as nginx.conf does (sticky route $node_of_sid)",
        docs: DOCS.nginx,
      },
    );
  }
  return problem(
    check,
    `polling does not stick: ${bare.lost} of ${SESSIONS} sessions reached a node that does not have them`,
    {
      fix: "set STICKY_ROUTE=auto for the nodes and route by the session id as nginx.conf does (sticky route $node_of_sid)",
      docs: DOCS.nginx,
    },
  );
}

async function lostOf(url: URL, cookies: boolean): Promise<{ lost: number; failure?: string }> {
  let lost = 0;
  for (let index = 0; index < SESSIONS; index += 1) {
    try {
      const session = await PollingSession.open(url, { cookies });
      await session.send("40/channels,{}"); // whatever it answers, it answers
      await session.receive();
      await session.close();
    } catch (error) {
      if (!(error instanceof SessionLost)) return { lost, failure: reasonOf(error) };
      lost += 1;
    }
  }
  return { lost };
}

async function checkUpgrade(url: URL): Promise<Finding> {
  const check = "front.websocket";
  const [stock, plain] = await Promise.all([open(url, STOCK), open(url, "/ws")]);
  for (const answer of [stock, plain]) if (isOpen(answer)) answer.destroy();
  if (isOpen(stock) && isOpen(plain)) return ok(check, "connections upgrade to WebSocket, on /socket.io/ and on /ws");
  if (isOpen(stock)) {
    return problem(check, `plain WebSocket clients can't connect: /ws answers ${plain}`, {
      fix: "let the balancer pass /ws to the nodes, with the headers of the upgrade",
      docs: DOCS.nginx,
    });
  }
  return problem(
    check,
    `the upgrade to WebSocket is refused (${stock}): stock clients poll, websocket-only clients fail`,
    {
      fix: "in nginx: proxy_http_version 1.1; proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection $connection_header;",
      docs: DOCS.nginx,
    },
  );
}

type Opened = Socket | number | string;

function open(url: URL, path: string): Promise<Opened> {
  return upgrade(new URL(path, url)).catch((error: unknown) => reasonOf(error));
}

function isOpen(answer: Opened): answer is Socket {
  return typeof answer !== "number" && typeof answer !== "string";
}

async function checkEvents({ url, token }: FrontOptions): Promise<Finding> {
  const check = "front.events";
  const headers = { accept: "text/event-stream", ...(token !== undefined && { authorization: `Bearer ${token}` }) };
  try {
    const target = new URL(`/events?channel=${encodeURIComponent(DOCTOR)}`, url);
    const { status, text } = await firstBytes(target, { headers, timeoutMs: FIRST_EVENT_MS });
    if (status === 401 || status === 403) {
      return skipped(
        check,
        "server-sent events were not tried: no token lets the doctor in",
        "give --token or JWT_SECRET",
      );
    }
    if (status !== 200)
      return skipped(check, `there are no server-sent events here (${status})`, "pass /events to the nodes");
    if (text !== undefined) return ok(check, "server-sent events arrive at once");
    return problem(check, "server-sent events do not arrive: something in between buffers them", {
      fix: "in nginx, for /events: proxy_buffering off;",
      docs: DOCS.nginx,
    });
  } catch (error) {
    return skipped(check, `server-sent events could not be tried: ${reasonOf(error)}`, "pass /events to the nodes");
  }
}

async function checkHeartbeat({ url, wait }: FrontOptions, heartbeatMs: number): Promise<Finding> {
  const check = "front.timeouts";
  const seconds = heartbeatMs / 1000;
  if (wait) return hold(url, heartbeatMs);
  if (heartbeatMs < LONG_HEARTBEAT_MS) {
    const what = `whether anything cuts silent connections before their heartbeat (${seconds} s) was not tried`;
    return skipped(check, what, "--wait holds one until then");
  }
  return warning(check, `heartbeats come every ${seconds} s, and proxies cut silent connections after 60 s or less`, {
    fix: "set PING_INTERVAL_MS to 25000 or less",
    docs: DOCS.configuration,
  });
}

/** A silent connection lives until its heartbeat, or something in between has less patience. */
async function hold(url: URL, heartbeatMs: number): Promise<Finding> {
  const check = "front.timeouts";
  const socket = await open(url, STOCK);
  if (!isOpen(socket)) {
    return skipped(check, "time limits were not tried: there is no WebSocket", "see front.websocket");
  }
  const startedAt = performance.now();
  const signal = AbortSignal.timeout(heartbeatMs + 10_000);
  socket.on("error", () => {});
  try {
    await once(socket, "data", { signal }); // the handshake
    const ended = once(socket, "close", { signal }).then(() => "cut");
    const outcome = await Promise.race([once(socket, "data", { signal }).then(() => "alive"), ended]);
    const afterS = Math.round((performance.now() - startedAt) / 1000);
    if (outcome === "alive") return ok(check, `a silent connection lived until its heartbeat after ${afterS} s`);
    return problem(
      check,
      `a silent connection was cut after ${afterS} s, before its heartbeat after ${heartbeatMs / 1000} s`,
      {
        fix: `raise that limit (in nginx: proxy_read_timeout 2m;), or set PING_INTERVAL_MS below ${afterS * 1000}`,
        docs: DOCS.nginx,
      },
    );
  } catch (error) {
    return problem(check, `a connection heard no heartbeat: ${reasonOf(error)}`, {
      fix: "look at the node's log and event loop: a heartbeat is due",
      docs: DOCS.nginx,
    });
  } finally {
    socket.destroy();
  }
}
