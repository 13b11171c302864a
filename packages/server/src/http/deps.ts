/** What the HTTP side needs of the rest of the process, each as the narrowest interface that serves. */
import type { IncomingHttpHeaders } from "node:http";
import type { HistoryPage, Meter, Presence, Publish } from "@carillon/core";
import { CarillonError, type ChannelName } from "@carillon/protocol";
import type { Attempts, Devices, Inbox, Notifications, Sending, Trial } from "@carillon/push";
import type { FastifyBaseLogger } from "fastify";
import type { Principal } from "../auth/principal.ts";
import type { Tickets } from "../auth/tickets.ts";
import type { ChannelsPage } from "../cluster/channels.ts";
import type { NodesView } from "../cluster/nodes.ts";
import type { Streams } from "../gateway/sse/streams.ts";
import type { NodeState, Readiness } from "../ops/health.ts";
import type { Exposition } from "../ops/metrics.ts";
import type { Settings } from "../settings/load.ts";

export type Action = "publish" | "refresh" | "subscribe" | "operate" | "notify";

/** Who asks, and what they may do. Every route asks `may` before it does anything. */
export interface Caller {
  /** The user, or the name of the key; idempotency keys are kept apart by it. */
  readonly name: string;
  /** `open`: nobody checks, `AUTH=off`. */
  readonly kind: "open" | "user" | "key";
  /** Of a user with a token: for judging publications that are not for everybody. */
  readonly principal?: Principal;
  /** Under `AUTH=off`: the user that `X-Carillon-User` names. */
  readonly claimed?: string | undefined;
  /** Without a channel: whether the action is allowed at all. */
  may(action: Action, channel?: ChannelName): boolean;
}

/** How much callers may ask for. Each throws `RATE_LIMITED`. */
export interface CallerQuotas {
  publish(caller: Caller, publications?: number): Promise<void>;
  ticket(caller: Caller): Promise<void>;
}

export interface CallerAuthenticator {
  /** Throws `CarillonError` (`UNAUTHENTICATED`, `TOKEN_EXPIRED`, `REVOKED`, `INVALID_ID`) for who can't be believed. */
  caller(headers: IncomingHttpHeaders): Caller | Promise<Caller>;
}

export interface HistoryRequest {
  readonly channel: ChannelName;
  /** As it was sent, perhaps nonsense: then the answer is a gap. Absent: from the oldest. */
  readonly since: string | undefined;
  readonly limit: number;
  readonly caller: Caller;
}

export interface History {
  /** In log order, and only what the caller may hear. */
  read(request: HistoryRequest): Promise<HistoryPage>;
}

/** The example tables behind the demo page's buttons. */
export interface Examples {
  /** Throw `CarillonError("NOT_CONFIGURED")` with the reason where the tables aren't there. */
  insertOrder(): Promise<Readonly<Record<string, unknown>>>;
  insertChatMessage(text: string): Promise<Readonly<Record<string, unknown>>>;
}

/** Inboxes, devices and notifications, which are stored in Postgres. */
export interface PushDeps {
  readonly notifications: Pick<Notifications, "notify" | "alongside">;
  readonly inbox: Pick<Inbox, "list" | "counts" | "change" | "readAll">;
  readonly devices: Pick<Devices, "register" | "remove">;
  readonly attempts: Pick<Attempts, "list">;
  /** Absent without credentials for Firebase. */
  readonly sending:
    | { readonly trial: Pick<Trial, "send">; readonly queue: Pick<Sending["queue"], "redrive"> }
    | undefined;
}

export interface HttpDeps {
  readonly settings: Pick<
    Settings,
    "namespaces" | "ingress" | "maxPayloadBytes" | "corsOrigins" | "trustProxy" | "wsPort"
  > & { readonly limits: Pick<Settings["limits"], "headerBytes" | "headersTimeoutMs"> };
  readonly logger: FastifyBaseLogger;
  readonly meter: Pick<Meter, "count">;
  readonly publisher: Publish;
  readonly history: History;
  readonly auth: CallerAuthenticator;
  /** Closes a user's connections, or one session's, on every node, and refuses their tokens from now on. */
  readonly revoke: (whom: { readonly user: string; readonly sid?: string; readonly reason?: string }) => Promise<void>;
  readonly tickets: Pick<Tickets, "issue">;
  /** Absent without Postgres. */
  readonly push?: PushDeps;
  /** How much each caller may publish; absent: as much as they like. */
  readonly quotas?: CallerQuotas;
  /** Absent where this node serves no clients. */
  readonly streams?: Pick<Streams, "open">;
  /** Whether clients connect on the port that a request came in by: with `WS_PORT` they do there alone. Absent: on any. */
  readonly takesClients?: (port: number | undefined) => boolean;
  readonly health: { readonly state: NodeState; readiness(): Promise<Readiness> };
  readonly cluster: {
    nodes(): Promise<NodesView>;
    channels(offset: number, limit: number): Promise<ChannelsPage>;
  };
  readonly presence: Pick<Presence, "read">;
  /** Absent where `METRICS_PORT` moves them away. */
  readonly metrics?: Exposition;
  /** Present only under `AUTH=off`. `examples` is absent without Postgres. */
  readonly demo?: {
    readonly examples?: Examples;
    /** The gateway's real port when it has its own. */
    readonly wsPort?: () => number | undefined;
  };
}

/** As a hook after the one that says who asks: without Postgres that is the answer, whatever is wrong with the request beside it. */
export function needsPostgres(deps: Pick<HttpDeps, "push">): () => Promise<void> {
  return async () => void configured(deps);
}

/** Each throws `NOT_CONFIGURED` where there is no Postgres. */
export const notificationsOf = (deps: Pick<HttpDeps, "push">) => configured(deps).notifications;
export const inboxOf = (deps: Pick<HttpDeps, "push">) => configured(deps).inbox;
export const devicesOf = (deps: Pick<HttpDeps, "push">) => configured(deps).devices;
export const attemptsOf = (deps: Pick<HttpDeps, "push">) => configured(deps).attempts;

/** Throws `NOT_CONFIGURED` where there are no credentials for Firebase either. */
export function sendingOf(deps: Pick<HttpDeps, "push">): NonNullable<PushDeps["sending"]> {
  const { sending } = configured(deps);
  if (sending !== undefined) return sending;
  throw new CarillonError("NOT_CONFIGURED", "pushes need FIREBASE_CREDENTIALS");
}

function configured({ push }: Pick<HttpDeps, "push">): PushDeps {
  if (push !== undefined) return push;
  throw new CarillonError(
    "NOT_CONFIGURED",
    "notifications, inboxes and devices need DATABASE_URL, and postgres in INGRESS",
  );
}
