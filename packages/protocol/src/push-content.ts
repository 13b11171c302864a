/** What a person reads of a notification, and what their application gets with it. migrations/0005_notify.sql has the same limits. */
import { z } from "zod";
import { stringifyJson } from "./json.ts";

const MAX_DATA_BYTES = 2048;

/** Firebase refuses these, and a message with them would never arrive. */
const RESERVED_KEY = /^(?:from|notification|message_type|google.*|gcm.*)$/s;

/** What Postgres can store: no NUL, no half of a surrogate pair. */
export function storableText(max: number) {
  return z
    .string()
    .max(max)
    .refine((value) => !value.includes("\0") && value.isWellFormed(), "text without NUL characters");
}

export const titleSchema = storableText(256).min(1);
export const bodySchema = storableText(2048);
export const dataSchema = z.record(z.string().max(128), z.unknown()).superRefine((value, context) => {
  const issue = (message: string) => context.addIssue({ code: "custom", message });
  const reserved = Object.keys(value).find((key) => RESERVED_KEY.test(key));
  if (reserved !== undefined) issue(`${JSON.stringify(reserved)} is a key that Firebase keeps for itself`);
  const bytes = Buffer.byteLength(stringifyJson(value));
  if (bytes > MAX_DATA_BYTES) issue(`has ${bytes} bytes as JSON; at most ${MAX_DATA_BYTES} are allowed`);
});

/** Beside a publication: what the inbox and the devices of its users get. */
export const pushSchema = z.strictObject({ title: titleSchema, body: bodySchema, data: dataSchema.optional() }).meta({
  description: "Also an inbox entry for each of the users, and a push where it is not seen; needs `to.users` alone",
});
export type PushContent = z.output<typeof pushSchema>;
