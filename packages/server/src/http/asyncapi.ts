/** What clients hear and say over Socket.IO, plain WebSocket and server-sent events, as an AsyncAPI document made of the wire's schemas. */
import {
  CHANNEL_NAMESPACE_REQUESTS,
  EVENT,
  EVENT_ARGUMENTS,
  PLAIN_ANSWERS,
  PLAIN_FRAMES,
  PLAIN_REQUESTS,
  REFRESH_NAMESPACE_REQUESTS,
  type RequestShape,
  refusal,
} from "@carillon/protocol";
import { z } from "zod";

export interface AsyncApiOptions {
  readonly version: string;
  /** Refresh namespaces, without their slash. */
  readonly namespaces: readonly string[];
  /** Where clients reach the gateway: host with port. */
  readonly host: string;
  /** Whether they get there by TLS. */
  readonly secure: boolean;
}

interface Message {
  readonly name: string;
  readonly summary: string;
  readonly payload: object;
}
interface Channel {
  readonly address: string;
  readonly messages: Readonly<Record<string, Message>>;
}

const EVENT_SUMMARIES: Readonly<Record<string, string>> = {
  [EVENT.refresh]: "Something changed: fetch again",
  [EVENT.notification]: "A message with its payload",
  [EVENT.ready]: "Once per connection, after everything that was missed",
  [EVENT.gap]: "These channels cannot be repaired up to that position: fetch again",
  [EVENT.offset]: 'The position, for clients that said `auth.ids: "event"`',
};

export function asyncApi({ version, namespaces, host, secure }: AsyncApiOptions): object {
  const refresh = socketIo(REFRESH_NAMESPACE_REQUESTS, [EVENT.refresh, EVENT.ready, EVENT.offset]);
  const channels = socketIo(CHANNEL_NAMESPACE_REQUESTS, Object.values(EVENT));
  const [sent, answers, requests] = [PLAIN_FRAMES, PLAIN_ANSWERS, PLAIN_REQUESTS].map(frames);
  const described = {
    refreshNamespace: {
      title: "Socket.IO refresh namespace",
      address: "/{namespace}",
      description:
        "The arguments of each event are the items of its payload. The id that trails makes stock clients resume by themselves.",
      servers: [{ $ref: "#/servers/socketIo" }],
      parameters: { namespace: { enum: namespaces, description: "Each carries the channel of the same name" } },
      messages: { ...refresh.events, ...refresh.requests, ...refresh.answers },
    },
    channelNamespace: {
      title: "Socket.IO namespace for any channel",
      address: "/channels",
      description:
        "Any channel, by subscription; the namespace `/` does the same. Arguments as in a refresh namespace.",
      servers: [{ $ref: "#/servers/socketIo" }],
      messages: { ...channels.events, ...channels.requests, ...channels.answers },
    },
    plainWebSocket: {
      title: "Plain WebSocket",
      address: "/ws",
      description: "One JSON object a text frame. `ref` of a request comes back in its answer.",
      servers: [{ $ref: "#/servers/webSocket" }],
      messages: { ...sent, ...answers, ...prefixed("request", requests ?? {}) },
    },
    serverSentEvents: {
      title: "Server-sent events",
      address: "/events",
      description:
        "`GET /events?channel=chat&channel=trips&room=trip:42`. The messages' names are those of the events, the ids their `id:`; `Last-Event-ID` and `since` resume.",
      servers: [{ $ref: "#/servers/http" }],
      messages: { ...sent },
    },
  };
  return {
    asyncapi: "3.0.0",
    info: {
      title: "Carillon",
      version,
      description: "What clients hear and say. Publishing by REST is in /openapi.json.",
      license: { name: "MIT" },
    },
    defaultContentType: "application/json",
    servers: {
      socketIo: {
        host,
        protocol: secure ? "wss" : "ws",
        description: "Socket.IO 4, path /socket.io/",
        security: BEARER,
      },
      webSocket: { host, protocol: secure ? "wss" : "ws", security: BEARER },
      http: { host, protocol: secure ? "https" : "http", security: BEARER },
    },
    channels: described,
    operations: {
      ...socketIoOperations("refreshNamespace", refresh),
      ...socketIoOperations("channelNamespace", channels),
      sendPlainWebSocket: operation("send", "plainWebSocket", Object.keys({ ...sent, ...answers })),
      receivePlainWebSocket: operation("receive", "plainWebSocket", Object.keys(prefixed("request", requests ?? {}))),
      sendServerSentEvents: operation("send", "serverSentEvents", Object.keys(sent ?? {})),
    },
    components: {
      securitySchemes: {
        bearer: {
          type: "http",
          scheme: "bearer",
          bearerFormat: "JWT",
          description:
            "A user's token: `auth.token` of the Socket.IO handshake, the `Authorization` header, or `?ticket=`",
        },
      },
    },
  };
}

const BEARER = [{ $ref: "#/components/securitySchemes/bearer" }];

type Messages = Channel["messages"];
interface Conversation {
  readonly events: Messages;
  readonly requests: Messages;
  readonly answers: Messages;
}

function socketIo(
  shapes: Readonly<Record<string, RequestShape>>,
  events: readonly (keyof typeof EVENT_ARGUMENTS)[],
): Conversation {
  const named = Object.entries(shapes).map(([name, shape]) => ({ key: requestKey(name), name, ...shape }));
  return {
    events: Object.fromEntries(
      events.map((name) => [name, message(name, EVENT_SUMMARIES[name] ?? "", EVENT_ARGUMENTS[name])]),
    ),
    requests: Object.fromEntries(
      named.map(({ key, name, body }) => [key, message(name, "With an ack", z.tuple([body]))]),
    ),
    answers: Object.fromEntries(
      named.map(({ key, name, answer }) => [`${key}Ack`, message(name, `The ack of ${name}`, ack(answer))]),
    ),
  };
}

function ack(answer: z.ZodType): z.ZodType {
  const granted = z.looseObject({ ok: z.literal(true) }).and(answer);
  return z.tuple([z.union([granted, z.looseObject({ ok: z.literal(false), error: refusal })])]);
}

function socketIoOperations(channel: string, { events, requests }: Conversation): Record<string, object> {
  const received = Object.keys(requests).map((key) => [
    `${channel}_${key}`,
    {
      ...operation("receive", channel, [key]),
      reply: {
        channel: { $ref: `#/channels/${channel}` },
        messages: [{ $ref: `#/channels/${channel}/messages/${key}Ack` }],
      },
    },
  ]);
  return { [`${channel}_send`]: operation("send", channel, Object.keys(events)), ...Object.fromEntries(received) };
}

/** Seen from the node. */
function operation(action: "send" | "receive", channel: string, messages: readonly string[]): object {
  return {
    action,
    channel: { $ref: `#/channels/${channel}` },
    messages: messages.map((name) => ({ $ref: `#/channels/${channel}/messages/${name}` })),
  };
}

function frames(schemas: Readonly<Record<string, z.ZodType>>): Messages {
  return Object.fromEntries(
    Object.entries(schemas).map(([name, schema]) => [name, message(name, EVENT_SUMMARIES[name] ?? "", schema)]),
  );
}

function prefixed(prefix: string, messages: Messages): Messages {
  return Object.fromEntries(
    Object.entries(messages).map(([name, one]) => [prefix + name.charAt(0).toUpperCase() + name.slice(1), one]),
  );
}

/** A key of the document may not have a colon. */
function requestKey(name: string): string {
  return `request${name
    .split(":")
    .map((part) => part.charAt(0).toUpperCase() + part.slice(1))
    .join("")}`;
}

/** AsyncAPI's own schemas are a superset of JSON Schema's draft 7. */
function message(name: string, summary: string, schema: z.ZodType): Message {
  const { $schema: _, ...payload } = z.toJSONSchema(schema, { target: "draft-7" });
  return { name, summary, payload };
}
