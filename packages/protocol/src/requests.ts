/**
 * The shapes that come in, as zod schemas: one definition for validation, types and the API description.
 *
 * Names are judged by `names.ts` alone; a schema only carries the verdict, with the code in the issue's `params.code`, so that
 * every route answers with the code that the other ingresses use. Inputs are values of `parseJson`: a number that a double can't
 * hold is a raw JSON object, and as an id it becomes the digits that were sent.
 */
import { z } from "zod";
import { CarillonError, type ErrorCode } from "./errors.ts";
import { numberText } from "./json.ts";
import {
  CHANNEL_PATTERN,
  isPrincipalId,
  isWholeNumber,
  MAX_ID_BYTES,
  parseChannel,
  parseScope,
  ROOM_PATTERN,
  SCOPE_PATTERN,
} from "./names.ts";
import type { Audience } from "./publication.ts";
import { pushSchema } from "./push-content.ts";

/** Bounds on one request. */
export const MAX_BATCH = 1000;
export const MAX_AUDIENCE = 10_000;
export const MAX_HISTORY = 1000;

const ROOM = new RegExp(ROOM_PATTERN);
const NO_NAMESPACES: ReadonlySet<string> = new Set();

/** Text, or a whole number of any size, which becomes its decimal text. */
function textOrWholeNumber(code: ErrorCode, what: string, description: z.core.JSONSchema.BaseSchema) {
  return z
    .unknown()
    .transform((value, context): string => {
      const text = numberText(value) ?? value;
      if (typeof text === "string" && (typeof value === "string" || isWholeNumber(text))) return text;
      context.addIssue({ code: "custom", message: `${what} is text or a whole number`, params: { code } });
      return z.NEVER;
    })
    .meta(description as Record<string, unknown>);
}

/** The issue that one of the parsers of `names.ts` throws. */
function judgedBy(parse: (value: unknown) => unknown) {
  return (value: string, context: z.RefinementCtx) => {
    try {
      parse(value);
    } catch (error) {
      if (!(error instanceof CarillonError)) throw error;
      context.addIssue({ code: "custom", message: error.message, params: { code: error.code } });
    }
  };
}

export const principalIdSchema = textOrWholeNumber("INVALID_ID", "an id", {
  type: ["string", "integer"],
  minLength: 1,
  maxLength: MAX_ID_BYTES,
  examples: ["42"],
}).refine(isPrincipalId, {
  message: `an id is 1 to ${MAX_ID_BYTES} bytes without control characters`,
  params: { code: "INVALID_ID" },
});
const principalIds = z.array(principalIdSchema).max(MAX_AUDIENCE);
const room = textOrWholeNumber("INVALID_ROOM", "a room name", {
  type: ["string", "integer"],
  pattern: ROOM_PATTERN,
  examples: ["trip:42"],
}).refine((name) => ROOM.test(name), {
  message: "a room name is 1 to 128 of A-Z a-z 0-9 _ . : - and does not start with . : or -",
  params: { code: "INVALID_ROOM" },
});
const rooms = z.array(room).max(MAX_AUDIENCE);

export const scopeSchema = z
  .string({ error: () => "a scope is text" })
  .superRefine(judgedBy(parseScope))
  .meta({ pattern: SCOPE_PATTERN, description: "What changed, in the publisher's words", examples: ["TRIP_APPROVED"] });

/** A channel by any of its spellings, still as it was spelled: which spellings are one channel depends on the settings. */
export const channelSchema = textOrWholeNumber("INVALID_CHANNEL", "a channel name", {
  type: ["string", "integer"],
  pattern: CHANNEL_PATTERN,
  examples: ["orders"],
}).superRefine(judgedBy((value) => parseChannel(value, NO_NAMESPACES)));

const audienceInput = z.strictObject({
  users: principalIds.optional(),
  roles: principalIds.optional(),
  tenants: principalIds.optional(),
  rooms: rooms.optional(),
  except: z
    .strictObject({
      users: principalIds.optional(),
      rooms: rooms.optional(),
      sockets: z.array(z.string().min(1).max(64)).max(MAX_AUDIENCE).optional(),
    })
    .optional(),
});

/** `to`; absent keys stay absent. */
export const audienceSchema = audienceInput
  .transform((value): Audience => dropUndefined(value) as Audience)
  .meta({
    description: "The union of the lists, minus `except`, within those who may hear the channel. Absent: all of them.",
  });

const payloadSchema = z.unknown().meta({ description: "Any JSON value; numbers travel digit for digit" });

export const refreshBody = z
  .strictObject({
    scope: scopeSchema,
    to: audienceSchema.optional(),
    payload: payloadSchema.optional(),
    push: pushSchema.optional(),
  })
  // Not `examples`, which zod leaves out of the description of what it transforms.
  .meta({ "x-examples": { approved: { value: { scope: "TRIP_APPROVED", to: { users: ["42"] } } } } });

export const publicationBody = z.strictObject({
  channel: channelSchema,
  scope: scopeSchema.optional(),
  payload: payloadSchema.optional(),
  to: audienceSchema.optional(),
  push: pushSchema.optional(),
});

/** The items are validated one by one with `publicationBody`: a bad one is an error in its place, not of the request. */
export const publicationsBody = z
  .strictObject({
    publications: z
      .array(z.unknown().meta(described(publicationBody)))
      .min(1)
      .max(MAX_BATCH),
  })
  .meta({
    examples: [
      {
        publications: [
          { channel: "orders", payload: { id: 7, status: "paid" } },
          { channel: "trips", scope: "ALL" },
        ],
      },
    ],
  });

function described(schema: z.ZodType): Record<string, unknown> {
  const { $schema: _, ...description } = z.toJSONSchema(schema, { io: "input" });
  return description;
}

function dropUndefined(value: object): object {
  return Object.fromEntries(Object.entries(value).filter(([, item]) => item !== undefined));
}
