/** A publication from end to end: in by REST, through the bus, out to clients. */
import { randomUUID } from "node:crypto";
import { type Client, ClientError, createClient } from "@carillon/client";
import { Failure, reasonOf } from "../failure.ts";
import { call, Refusal } from "../rest.ts";
import { DOCS, type Finding, ok, problem, skipped } from "./finding.ts";
import { DOCTOR, type Identity } from "./identity.ts";

/** Likely on more than one node where there are some. */
const LISTENERS = 3;
const TIMEOUT_MS = 5_000;

export async function checkPublication(url: URL, identity: Identity, signal: AbortSignal): Promise<readonly Finding[]> {
  const over = new AbortController();
  const mark = randomUUID();
  const listeners = Array.from({ length: LISTENERS }, () => listen(url, identity, mark, over.signal));
  try {
    const deaf = await within(TIMEOUT_MS, Promise.all(listeners.map(({ ready }) => ready))).then(
      () => undefined,
      (error: unknown) => cannotListen(url, identity, error),
    );
    const startedAt = performance.now();
    const refused = await publish(url, identity, mark, signal);
    if (refused !== undefined) return deaf === undefined ? [refused] : [deaf, refused];
    const accepted = ok("publish", "REST accepts a publication");
    if (deaf !== undefined) return [deaf, accepted];
    const heard = within(TIMEOUT_MS, Promise.all(listeners.map((one) => one.heard)));
    return await heard.then(
      (nodes) => [reached(new Set(nodes).size, performance.now() - startedAt)],
      () => [accepted, lost()],
    );
  } finally {
    over.abort();
  }
}

function reached(nodes: number, ms: number): Finding {
  const where = nodes === 1 ? "1 node" : `${nodes} nodes`;
  return ok(
    "publication",
    `a publication by REST reached ${LISTENERS} clients on ${where} within ${Math.round(ms)} ms`,
  );
}

function lost(): Finding {
  const what = `a publication that was accepted did not reach every client within ${TIMEOUT_MS / 1000} s`;
  return problem("publication", what, {
    fix: "see what is said of Redis: nodes that don't share one Redis and REDIS_PREFIX don't hear each other",
    docs: DOCS.busDeaf,
  });
}

interface Listener {
  readonly ready: Promise<unknown>;
  /** The node through which the publication came. */
  readonly heard: Promise<string>;
}

function listen(url: URL, { token, user }: Identity, mark: string, signal: AbortSignal): Listener {
  const { promise: heard, resolve } = Promise.withResolvers<string>();
  const client: Client = createClient({
    url: url.origin,
    ...(token === undefined ? { auth: { user } } : { token }),
    requestTimeoutMs: TIMEOUT_MS,
    onError() {}, // `ready` says it too
    signal,
    socket: { forceNew: true, reconnection: false, transports: ["websocket", "polling"], tryAllTransports: true },
  });
  client.setForeground(false);
  const subscription = client.subscribe(DOCTOR, (payload) => {
    const { status } = client;
    if (payload === mark) resolve(status.state === "connected" ? status.node : "");
  });
  return { ready: subscription.ready, heard };
}

function cannotListen(url: URL, { token }: Identity, error: unknown): Finding {
  const check = "subscribe";
  const code = error instanceof ClientError ? error.code : undefined;
  const what = `a client can't subscribe at ${url.origin}: ${reasonOf(error)}${code === undefined ? "" : ` (${code})`}`;
  if (token === undefined && code === "UNAUTHENTICATED") {
    return skipped(
      check,
      "listening was not tried: there is no token",
      "give --token, or the node's JWT_SECRET by its environment",
    );
  }
  if (code === "FORBIDDEN") {
    return skipped(check, what, `give a token whose claim "channels" has ${DOCTOR}, or let it be "*"`);
  }
  if (code !== undefined && ["UNAUTHENTICATED", "TOKEN_EXPIRED", "REVOKED"].includes(code)) {
    return problem(check, what, {
      fix: "give a token that this node can verify: the same JWT_SECRET, JWT_ISSUER and JWT_AUDIENCE, and not expired",
      docs: DOCS.configuration,
    });
  }
  return problem(check, what, { fix: "see what is said of the balancer and the nodes", docs: DOCS.nginx });
}

async function publish(url: URL, identity: Identity, mark: string, signal: AbortSignal): Promise<Finding | undefined> {
  const { key, token } = identity;
  try {
    await call({ url, key, token }, `/api/notifications/${encodeURIComponent(DOCTOR)}`, {
      method: "POST",
      body: JSON.stringify(mark),
      idempotencyKey: mark,
      timeoutMs: TIMEOUT_MS,
      signal,
    });
    return undefined;
  } catch (error) {
    if (!(error instanceof Failure)) throw error;
    if (key === undefined && token === undefined && error instanceof Refusal && error.code === "UNAUTHENTICATED") {
      return skipped(
        "publish",
        "publishing was not tried: there is no key",
        "give --key, or the node's API_KEYS by its environment",
      );
    }
    return problem("publish", error.message, { fix: error.fix ?? "see what is said of the nodes", docs: DOCS.cli });
  }
}

async function within<T>(timeoutMs: number, promise: Promise<T>): Promise<T> {
  const { promise: late, reject } = Promise.withResolvers<never>();
  const timer = setTimeout(() => reject(new Error(`no answer within ${timeoutMs / 1000} s`)), timeoutMs);
  return await Promise.race([promise, late]).finally(() => clearTimeout(timer));
}
