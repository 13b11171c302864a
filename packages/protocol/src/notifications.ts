/** Notifications, inboxes and devices as they come in. */
import { z } from "zod";
import { bodySchema, dataSchema, pushSchema, storableText, titleSchema } from "./push-content.ts";
import { MAX_AUDIENCE, principalIdSchema, scopeSchema } from "./requests.ts";

/** Bounds on one request. */
export const MAX_INBOX_IDS = 1000;
export const MAX_INBOX_PAGE = 200;

export const PLATFORMS = ["android", "ios", "web"] as const;
export type Platform = (typeof PLATFORMS)[number];

const userIds = z
  .unknown()
  .transform((value, context) => {
    if (value === "*") return "*";
    const list = z.array(principalIdSchema).min(1).max(MAX_AUDIENCE).safeParse(value);
    if (list.success) return list.data;
    const isList = Array.isArray(value);
    for (const issue of list.error.issues) {
      context.addIssue(isList ? { ...issue } : { code: "custom", message: 'a list of user ids, or "*"' });
    }
    return z.NEVER;
  })
  .meta({
    oneOf: [
      { type: "array", items: { type: ["string", "integer"] }, minItems: 1, maxItems: MAX_AUDIENCE },
      { const: "*" },
    ],
    description: "Whom it is for; `*`: every user with a device or an inbox entry",
  });

const notifyPush = z.union([z.boolean(), pushSchema], { error: "true, false, or {title, body, data?}" }).meta({
  description:
    "Whether devices that do not show it in time get a push; default true. An object: what the push says instead.",
});

export const notifyBody = z
  .strictObject({
    userIds,
    type: scopeSchema,
    title: titleSchema,
    body: bodySchema,
    data: dataSchema.optional().meta({ description: "For the application; a push carries its values as text" }),
    push: notifyPush.optional(),
  })
  .meta({
    "x-examples": {
      approved: {
        value: {
          userIds: ["42"],
          type: "TRIP_APPROVED",
          title: "Trip approved",
          body: "Your trip request #42 has been approved.",
          data: { tripId: "42" },
        },
      },
    },
  });

export const inboxIdsBody = z.strictObject({
  ids: z.array(z.string().min(1).max(128)).min(1).max(MAX_INBOX_IDS).meta({ description: "Of entries: event ids" }),
});

const visible = (max: number, what: string) =>
  z.string().regex(new RegExp(`^[\\x21-\\x7e]{1,${max}}$`), `1 to ${max} visible ASCII characters, as ${what} has`);

/** The whole state of a device; what is left out is no longer so. Members that are not known here are ignored: applications are old or new. */
export const deviceBody = z
  .object({
    token: visible(1024, "a registration token").nullish().meta({ description: "The device's FCM registration token" }),
    fid: visible(256, "an installation id").nullish().meta({ description: "Or its Firebase installation id" }),
    platform: z.enum(PLATFORMS),
    locale: visible(64, "a language tag")
      .nullish()
      .meta({ examples: ["de-CH"] }),
    appVersion: storableText(64)
      .nullish()
      .meta({ examples: ["2.4.1"] }),
  })
  .refine((device) => device.token == null || device.fid == null, "token or fid, not both")
  .meta({ "x-examples": { phone: { value: { token: "dGhpcyBpcyBu…", platform: "android", appVersion: "2.4.1" } } } });
