import { CarillonError } from "@carillon/protocol";
import { ATTEMPT_OUTCOMES } from "@carillon/push";
import type { FastifyPluginAsyncZod } from "fastify-type-provider-zod";
import { z } from "zod";
import { optionalBody, requireBody } from "../body.ts";
import { operatorsOnly } from "../callers.ts";
import { attemptsOf, type HttpDeps, needsPostgres, sendingOf } from "../deps.ts";
import { problems, wholeNumber } from "../schemas.ts";

const MAX_PAGE = 500;
const MAX_REDRIVE = 10_000;
const PROBLEMS = ["UNAUTHENTICATED", "FORBIDDEN", "INVALID_REQUEST", "DATABASE_UNAVAILABLE", "NOT_CONFIGURED"] as const;

const id = z.string().min(1).max(128);
const whom = {
  eventId: id.optional().meta({ description: "Of one event" }),
  userId: id.optional().meta({ description: "To devices of one user" }),
  installationId: id.optional().meta({ description: "To one device" }),
};
const reason = z.string().meta({ description: "A row of the classification in docs/push-sending.md" });

const testBody = z
  .strictObject({
    userId: whom.userId,
    installationId: whom.installationId,
    title: z.string().min(1).max(256).default("Carillon"),
    body: z.string().max(2048).default("This is a test."),
    validateOnly: z.boolean().default(false).meta({ description: "FCM looks at it and sends nothing" }),
  })
  .refine(({ userId, installationId }) => userId !== undefined || installationId !== undefined, {
    message: "say whose devices: userId, installationId or both",
  });
const tested = z.object({
  results: z.array(
    z.object({
      userId: z.string(),
      installationId: z.string(),
      platform: z.enum(["android", "ios", "web"]),
      ok: z.boolean().meta({ description: "FCM took it" }),
      fcmName: z.string().optional(),
      status: z.number().optional(),
      fcmCode: z.string().optional(),
      reason: reason.optional(),
      message: z.string().optional().meta({ description: "FCM's own words" }),
    }),
  ),
});

const attemptsQuery = z.object({
  ...whom,
  outcome: z.enum(ATTEMPT_OUTCOMES).optional().meta({ description: "`failed`: the dead letters" }),
  cursor: z.string().optional().meta({ description: "`cursor` of the page before" }),
  limit: wholeNumber(1, MAX_PAGE, 50),
});
const attempts = z.object({
  attempts: z.array(
    z.object({
      eventId: z.string(),
      userId: z.string(),
      installationId: z.string(),
      attempt: z.number(),
      outcome: z.string(),
      status: z.number().nullable(),
      reason: reason.nullable(),
      fcmName: z.string().nullable(),
      detail: z.record(z.string(), z.unknown()).nullable(),
      at: z.string().meta({ format: "date-time" }),
    }),
  ),
  cursor: z.string().nullable(),
});

const redriveBody = z.strictObject({
  ...whom,
  limit: z.number().int().min(1).max(MAX_REDRIVE).default(1000),
});
const redriven = z.object({ redriven: z.number().meta({ type: "integer" }) });

/** What operators see of pushes, and do about them. */
export function pushRoutes(deps: Pick<HttpDeps, "auth" | "push">): FastifyPluginAsyncZod {
  const onRequest = [operatorsOnly(deps.auth), needsPostgres(deps)];

  return async (app) => {
    app.post(
      "/api/push/test",
      {
        onRequest,
        preValidation: requireBody,
        schema: {
          tags: ["Operate"],
          summary: "Push to devices now, and see FCM's answer",
          description: "Past decision and queue; recorded as attempts. Whatever FCM says, no device is removed by it.",
          body: testBody,
          response: { 200: tested, ...problems(...PROBLEMS, "INVALID_JSON", "NOT_FOUND") },
        },
      },
      async (request) => {
        const results = await sendingOf(deps).trial.send(request.body);
        if (results.length === 0) throw new CarillonError("NOT_FOUND", "no such device is registered");
        return { results };
      },
    );

    app.get(
      "/api/push/attempts",
      {
        onRequest,
        schema: {
          tags: ["Operate"],
          summary: "What became of pushes, newest first",
          querystring: attemptsQuery,
          response: { 200: attempts, ...problems(...PROBLEMS) },
        },
      },
      async ({ query }, reply) => {
        const page = await attemptsOf(deps).list(query);
        return reply.header("cache-control", "no-store").send({ ...page, attempts: [...page.attempts] });
      },
    );

    app.post(
      "/api/push/redrive",
      {
        onRequest,
        preValidation: optionalBody,
        schema: {
          tags: ["Operate"],
          summary: "Send dead letters again",
          description:
            "The oldest first, each with all of its time. Without a filter, or a body, all of them, up to `limit` in one call.",
          body: redriveBody,
          response: { 200: redriven, ...problems(...PROBLEMS, "INVALID_JSON") },
        },
      },
      async (request) => {
        const { eventId, userId, installationId, limit } = request.body;
        const filter = {
          ...(eventId !== undefined && { eventId }),
          ...(userId !== undefined && { userId }),
          ...(installationId !== undefined && { installationId }),
        };
        return { redriven: await sendingOf(deps).queue.redrive({ ...filter, limit }) };
      },
    );
  };
}
