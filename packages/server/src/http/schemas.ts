/** The shapes of answers and parameters, for the API description; bodies are in `@carillon/protocol`. */
import {
  CHANNEL_PATTERN,
  channelSchema,
  ERRORS,
  type ErrorCode,
  MAX_HISTORY,
  MAX_INBOX_PAGE,
  PLATFORMS,
  scopeSchema,
} from "@carillon/protocol";
import { z } from "zod";

/** In a query; both ends count. */
export function wholeNumber(min: number, max: number, fallback: number) {
  return z
    .string()
    .regex(/^\d{1,9}$/, "a whole number")
    .transform(Number)
    .pipe(z.number().min(min).max(max))
    .default(fallback)
    .meta({ type: "integer", minimum: min, maximum: max });
}

const id = z
  .string()
  .meta({ description: "Place in the log: opaque, ordered across all channels", examples: ["1764000000000-42"] });

export const channelParams = z.object({ channel: channelSchema });
export const namespaceParams = z.object({
  namespace: channelSchema.meta({
    type: "string",
    pattern: CHANNEL_PATTERN,
    description: "A refresh namespace",
    examples: ["trips"],
  }),
});

export const idempotencyHeaders = z.object({
  "idempotency-key": z.string().optional().meta({
    description:
      "1 to 255 visible ASCII characters. The same key within 24 h gives the same answer and never a second publication.",
  }),
});

export const accepted = z
  .object({ id, channel: z.string() })
  .meta({ description: "In the log", examples: [{ id: "1764000000000-42", channel: "orders" }] });

const itemError = z.object({ error: z.object({ code: z.string(), message: z.string() }) });
export const batchAccepted = z.object({ results: z.array(z.union([z.object({ id }), itemError])) }).meta({
  description: "In order of the request; an item that was refused has its error in its place",
  examples: [
    { results: [{ id: "1764000000000-43" }, { error: { code: "INVALID_SCOPE", message: "a scope is text" } }] },
  ],
});

export const historyQuery = z.object({
  since: z
    .string()
    .max(128)
    .optional()
    .meta({ description: "An id; only what came after it", examples: ["1764000000000-41"] }),
  limit: wholeNumber(1, MAX_HISTORY, 100),
});

export const history = z
  .object({
    publications: z.array(
      z.object({
        id,
        channel: z.string(),
        scope: z.string().optional(),
        payload: z.unknown().optional(),
        truncated: z.unknown().optional(),
        to: z.unknown().optional(),
        from: z.string().optional(),
        timestamp: z.string().meta({ format: "date-time" }),
      }),
    ),
    id: id.meta({ description: "`since` of the next call" }),
    gap: z.boolean().meta({ description: "Something after `since` is not in the log any more" }),
  })
  .meta({
    examples: [
      {
        publications: [
          { id: "1764000000000-42", channel: "orders", payload: { id: 7 }, timestamp: "2026-01-01T12:00:00.000Z" },
        ],
        id: "1764000000000-42",
        gap: false,
      },
    ],
  });

export const notified = z
  .object({ eventId: z.string(), entries: z.number().meta({ type: "integer" }) })
  .meta({ description: "Stored; what follows from it follows", examples: [{ eventId: "8b0b…", entries: 1 }] });

/** `true` or `false` in a query. */
const flag = z
  .enum(["true", "false"])
  .transform((value) => value === "true")
  .optional()
  .meta({ type: "boolean" });

export const inboxQuery = z.object({
  cursor: z.string().max(64).optional().meta({ description: "What the page before answered" }),
  limit: wholeNumber(1, MAX_INBOX_PAGE, 50),
  read: flag,
  archived: flag,
  type: scopeSchema.optional(),
});

const dateTime = z.string().meta({ format: "date-time" });
export const inboxPage = z.object({
  entries: z.array(
    z.object({
      id: z.string().meta({ description: "Of the event: what refreshes carry as `payload.eventId`" }),
      type: z.string(),
      title: z.string(),
      body: z.string(),
      data: z.unknown(),
      createdAt: dateTime,
      readAt: dateTime.nullable(),
      archivedAt: dateTime.nullable(),
    }),
  ),
  cursor: z.string().nullable().meta({ description: "For the next page; null at the end" }),
});

const count = z.number().meta({ type: "integer" });
export const inboxCounts = z.object({
  unread: count.meta({ description: "Neither read nor archived" }),
  total: count.meta({ description: "Not archived" }),
  archived: count,
});
export const inboxChanged = z.object({ changed: count });

export const device = z.object({
  installationId: z.string(),
  platform: z.enum(PLATFORMS),
  locale: z.string().nullable(),
  appVersion: z.string().nullable(),
  reachable: z.boolean().meta({ description: "Whether it has a token or an installation id to send to" }),
  registeredAt: dateTime,
});

const check = z.object({ status: z.enum(["ok", "degraded", "down"]), reason: z.string().optional() });
export const ready = z.object({ status: z.enum(["ok", "degraded"]), checks: z.record(z.string(), check) }).meta({
  examples: [
    {
      status: "degraded",
      checks: { bus: { status: "ok" }, postgres: { status: "degraded", reason: "reconnecting" } },
    },
  ],
});
export const alive = z.object({ status: z.literal("ok") });

const problem = z
  .object({
    type: z.string(),
    title: z.string(),
    status: z.number().meta({ type: "integer" }),
    detail: z.string(),
    code: z.enum(Object.keys(ERRORS) as [ErrorCode, ...ErrorCode[]]),
    requestId: z.string(),
  })
  .meta({ id: "Problem", description: "RFC 9457 problem details" });

interface ProblemResponse {
  readonly description: string;
  readonly content: { readonly "application/problem+json": { readonly schema: typeof problem } };
}

/** The answers of an operation that can fail with these codes, by status. */
export function problems(...codes: readonly ErrorCode[]): Record<number, ProblemResponse> {
  const byStatus = new Map<number, ErrorCode[]>();
  for (const code of codes) {
    const { status } = ERRORS[code];
    byStatus.set(status, [...(byStatus.get(status) ?? []), code]);
  }
  return Object.fromEntries(
    [...byStatus].map(([status, ofStatus]) => [
      status,
      {
        description: ofStatus.map((code) => `\`${code}\`: ${ERRORS[code].title}`).join(". "),
        content: { "application/problem+json": { schema: problem } },
      },
    ]),
  );
}

export const PUBLISH_PROBLEMS = [
  "INVALID_JSON",
  "UNAUTHENTICATED",
  "FORBIDDEN",
  "INGRESS_DISABLED",
  "PAYLOAD_TOO_LARGE",
  "UNSUPPORTED_MEDIA_TYPE",
  "INVALID_REQUEST",
  "INVALID_CHANNEL",
  "IDEMPOTENCY_KEY_REUSED",
  "RATE_LIMITED",
  "BUS_UNAVAILABLE",
  "DRAINING",
] as const satisfies readonly ErrorCode[];
