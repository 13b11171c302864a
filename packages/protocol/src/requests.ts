/** The shapes that come in, as zod schemas: one definition for validation, types and the API description. */
import { z } from "zod";
import { isPrincipalId, MAX_ID_BYTES, ROOM_PATTERN, SCOPE_PATTERN } from "./names.ts";
import type { Audience } from "./publication.ts";

/** Bounds on one request; the settings can lower but not raise them. */
export const MAX_BATCH = 1000;
export const MAX_AUDIENCE = 10_000;

const principalId = z
  .union([z.string(), z.number().int()])
  .transform(String)
  .refine(isPrincipalId, `an id is 1 to ${MAX_ID_BYTES} bytes without control characters`);
const principalIds = z.array(principalId).max(MAX_AUDIENCE);
const room = z.union([z.string(), z.number().int()]).transform(String).pipe(z.string().regex(new RegExp(ROOM_PATTERN), "not a room name"));
const rooms = z.array(room).max(MAX_AUDIENCE);

export const scopeSchema = z.string().regex(new RegExp(SCOPE_PATTERN), "a scope is 1 to 128 of A-Z a-z 0-9 _ . : -");

const audienceInput = z.strictObject({
  users: principalIds.optional(),
  roles: principalIds.optional(),
  tenants: principalIds.optional(),
  rooms: rooms.optional(),
  except: z
    .strictObject({ users: principalIds.optional(), rooms: rooms.optional(), sockets: z.array(z.string().max(64)).max(MAX_AUDIENCE).optional() })
    .optional(),
});

/** `to`; absent keys stay absent. */
export const audienceSchema = audienceInput.transform((value): Audience => dropUndefined(value) as Audience);

export const pushSchema = z.strictObject({
  title: z.string().min(1).max(256),
  body: z.string().max(2048),
  data: z.record(z.string().max(128), z.unknown()).optional(),
});

export const refreshBody = z.strictObject({
  scope: scopeSchema,
  to: audienceSchema.optional(),
  payload: z.unknown().optional(),
  push: pushSchema.optional(),
});

export const publicationBody = z.strictObject({
  channel: z.union([z.string(), z.number()]),
  scope: scopeSchema.optional(),
  payload: z.unknown().optional(),
  to: audienceSchema.optional(),
  push: pushSchema.optional(),
});

export const publicationsBody = z.strictObject({ publications: z.array(z.unknown()).min(1).max(MAX_BATCH) });

function dropUndefined(value: object): object {
  return Object.fromEntries(Object.entries(value).filter(([, item]) => item !== undefined));
}
