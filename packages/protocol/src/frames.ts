/**
 * What clients and nodes say to each other, as zod schemas: the API description is made of them, and tests hold what real nodes send
 * against them. Objects are open: whoever reads them has to bear keys that it doesn't know.
 */
import { z } from "zod";
import { CHANNEL_PATTERN, ROOM_PATTERN, SCOPE_PATTERN } from "./names.ts";
import { EVENT, REQUEST } from "./wire.ts";

const id = z.string().meta({
  description: "Place in the log: opaque, ordered across all channels; store it, compare it for equality, send it back",
  examples: ["1764000000000-42"],
});
const channel = z.string().meta({ pattern: CHANNEL_PATTERN, examples: ["orders"] });
const scope = z.string().meta({ pattern: SCOPE_PATTERN, examples: ["TRIP_APPROVED"] });
const room = z.string().meta({ pattern: ROOM_PATTERN, examples: ["trip:42"] });
const payload = z.unknown().meta({ description: "Any JSON value; numbers travel digit for digit" });
const text = z.string();

const refreshFields = {
  payload: payload.optional(),
  spreadMs: z.number().optional().meta({
    type: "integer",
    description: "Fetch again at a random time within so many milliseconds",
  }),
};
const messageFields = {
  payload: payload.optional(),
  truncated: z
    .looseObject({ table: text.optional(), key: z.unknown().optional(), bytes: z.number().optional() })
    .optional()
    .meta({ description: "In place of a payload that was too large" }),
  timestamp: text.meta({ format: "date-time", description: "For people; ids tell the order" }),
  from: text.optional().meta({ description: "The user who published it, where a client did" }),
};
const readyFields = {
  node: text.meta({ description: "An opaque name" }),
  user: text.nullable(),
  rooms: z.array(text),
  channels: z.array(channel),
  recovered: z.boolean().meta({ description: "Whether nothing is missing since the last connection" }),
};
const gapFields = {
  channels: z.array(channel).optional().meta({ description: "None: every channel" }),
};

const ownId = id.optional().meta({ description: "In a replay: the publication's own id" });

/** The arguments of Socket.IO events from a node, by name. With `auth.ids: "event"` the trailing id comes as event `offset` instead. */
export const EVENT_ARGUMENTS = {
  [EVENT.refresh]: z.tuple([
    z.looseObject({
      type: z.literal("REFRESH"),
      scope,
      channel: channel.optional().meta({ description: "Outside the channel's own namespace" }),
      ...refreshFields,
      id: ownId,
    }),
    id,
  ]),
  [EVENT.notification]: z.tuple([z.looseObject({ channel, ...messageFields, id: ownId }), id]),
  [EVENT.ready]: z.tuple([z.looseObject(readyFields), id]),
  [EVENT.gap]: z.tuple([z.looseObject(gapFields), id]),
  [EVENT.offset]: z.tuple([id]),
} as const;

export interface RequestShape {
  readonly body: z.ZodType;
  /** What is beside `ok: true`. */
  readonly answer: z.ZodType;
}

const nothing = z.looseObject({});
const inRoom = z.looseObject({ room });
const inChannel = z.looseObject({ channel });
const inChannelRoom = z.looseObject({ channel, room });
const subscribe = z.looseObject({ channel, since: id.optional() });
const subscribed = z.looseObject({ channel, id, recovered: z.boolean() });
const publish = z.looseObject({ channel, payload });
const published = z.looseObject({ id });
const state = z.looseObject({ foreground: z.boolean() });
const seen = z.looseObject({ ids: z.array(text).meta({ description: "Event ids of the notification service" }) });
const token = z.looseObject({ token: text });

const REQUESTS_EVERYWHERE = {
  [REQUEST.state]: { body: state, answer: nothing },
  [REQUEST.seen]: { body: seen, answer: nothing },
  [REQUEST.authRefresh]: { body: token, answer: nothing },
};

/** Socket.IO events to a node, each with an ack. */
export const REFRESH_NAMESPACE_REQUESTS: Readonly<Record<string, RequestShape>> = {
  [REQUEST.join]: { body: inRoom, answer: inRoom },
  [REQUEST.leave]: { body: inRoom, answer: inRoom },
  ...REQUESTS_EVERYWHERE,
};
export const CHANNEL_NAMESPACE_REQUESTS: Readonly<Record<string, RequestShape>> = {
  [REQUEST.subscribe]: { body: subscribe, answer: subscribed },
  [REQUEST.unsubscribe]: { body: inChannel, answer: inChannel },
  [REQUEST.join]: { body: inChannelRoom, answer: inChannelRoom },
  [REQUEST.leave]: { body: inChannelRoom, answer: inChannelRoom },
  [REQUEST.publish]: { body: publish, answer: published },
  ...REQUESTS_EVERYWHERE,
};

export const refusal = z
  .looseObject({ code: text, message: text, retryAfterS: z.number().optional() })
  .meta({ description: "Decide by the code: docs/errors.md" });

const position = id
  .optional()
  .meta({ description: "In a replay: the connection's position, which is ahead of the id" });

/** What a plain WebSocket carries, and server-sent events as their data: by name, with the value of `type` that tells it. */
export const PLAIN_FRAMES = {
  ready: frame("ready", {
    ...readyFields,
    session: text
      .optional()
      .meta({ description: "With it and the last id a plain WebSocket comes back to its rooms and channels" }),
    socket: text.meta({ description: "This connection's name, for `to.except.sockets`" }),
    id,
  }),
  notification: frame("notification", { channel, ...messageFields, id, position }),
  refresh: frame("REFRESH", { channel, scope, ...refreshFields, id, position }),
  gap: frame("gap", { ...gapFields, id }),
} as const;

const ref = z.unknown().optional().meta({ description: "As the request had it" });

export const PLAIN_ANSWERS = {
  authenticated: frame("authenticated", { ref }),
  subscribed: frame("subscribed", { ...subscribed.shape, ref }),
  unsubscribed: frame("unsubscribed", { channel, ref }),
  joined: frame("joined", { channel, room, ref }),
  left: frame("left", { channel, room, ref }),
  published: frame("published", { id, ref }),
  noted: frame("noted", { ref }).meta({ description: "The answer to `state` and `seen`" }),
  pong: frame("pong", { ref }),
  error: frame("error", { ...refusal.shape, ref }),
} as const;

export const PLAIN_REQUESTS = {
  auth: frame("auth", { token: text.optional(), session: text.optional(), since: id.optional(), ref }),
  subscribe: frame("subscribe", { ...subscribe.shape, ref }),
  unsubscribe: frame("unsubscribe", { channel, ref }),
  join: frame("join", { channel, room, ref }),
  leave: frame("leave", { channel, room, ref }),
  publish: frame("publish", { channel, payload, ref }),
  state: frame("state", { ...state.shape, ref }),
  seen: frame("seen", { ...seen.shape, ref }),
  ping: frame("ping", { ref }),
} as const;

function frame<T extends string, S extends z.ZodRawShape>(type: T, shape: S) {
  return z.looseObject({ type: z.literal(type), ...shape });
}
