import { type AppendRequest, type AppendResult, TOKEN_TTL_S } from "@carillon/core";
import { CarillonError, type Draft, publicationBody, publicationsBody } from "@carillon/protocol";
import type { Notification } from "@carillon/push";
import type { FastifyRequest } from "fastify";
import type { FastifyPluginAsyncZod } from "fastify-type-provider-zod";
import { bodyLimits, requireBody } from "../body.ts";
import { authenticated, demand, keysOnly } from "../callers.ts";
import { type HttpDeps, notificationsOf } from "../deps.ts";
import { type DraftRules, notificationBeside, publicationDraft, withEventId } from "../drafts.ts";
import { type Token, tokenOf } from "../idempotency.ts";
import { batchAccepted, idempotencyHeaders, PUBLISH_PROBLEMS, problems } from "../schemas.ts";
import { validationError } from "../validation.ts";
import { draftRules, restIngress } from "./publish.ts";

type Deps = Pick<HttpDeps, "publisher" | "auth" | "settings" | "quotas" | "push">;
type Refused = (error: CarillonError, request: FastifyRequest) => void;

/** `POST /api/publications`: up to 1,000 in one call, in order, each with its own verdict. */
export function batchRoutes(deps: Deps, refused: Refused): FastifyPluginAsyncZod {
  const rules = draftRules(deps.settings);

  return async (app) => {
    app.post(
      "/api/publications",
      {
        onRequest: [restIngress(deps.settings), authenticated(deps.auth), keysOnly],
        preValidation: requireBody,
        bodyLimit: bodyLimits(deps.settings.maxPayloadBytes).batch,
        config: { publishes: true },
        schema: {
          tags: ["Publish"],
          summary: "Publish several messages and refreshes",
          description:
            "Each item: `{channel, payload | scope, to?, push?}`. With a scope it is a refresh. What is wrong with one item is an error in its place and does not touch the others. A body has at most 4 MiB.",
          headers: idempotencyHeaders,
          body: publicationsBody,
          response: { 202: batchAccepted, ...problems(...PUBLISH_PROBLEMS) },
        },
      },
      async (request, reply) => {
        const token = tokenOf(request, request.body);
        const verdicts = request.body.publications.map((item) => verdict(item, request, rules, deps));
        const items = verdicts.filter((item): item is Item => !(item instanceof CarillonError));
        if (items.length > 0) await deps.quotas?.publish(request.caller, items.length);
        const ids = await publishAll(deps, items, token);
        let next = 0;
        const results = verdicts.map((item) => {
          if (!(item instanceof CarillonError)) return { id: ids[next++] ?? "" };
          refused(item, request);
          return { error: { code: item.code, message: item.message } };
        });
        return reply.code(202).send({ results });
      },
    );
  };
}

interface Item {
  readonly draft: Draft;
  readonly notification: Notification | undefined;
}

function verdict(
  item: unknown,
  request: FastifyRequest,
  rules: DraftRules,
  deps: Pick<Deps, "push">,
): Item | CarillonError {
  try {
    const parsed = publicationBody.safeParse(item);
    if (!parsed.success) return validationError(parsed.error);
    const draft = publicationDraft(parsed.data, rules);
    const notification = notificationBeside(draft, parsed.data);
    demand(request.caller, draft.scope === undefined ? "publish" : "refresh", draft.channel);
    if (notification !== undefined) {
      demand(request.caller, "notify");
      notificationsOf(deps);
    }
    return { draft, notification };
  } catch (error) {
    if (error instanceof CarillonError) return error;
    throw error;
  }
}

/** Those with `push` have their inbox entries if and only if all of them are in the log. */
function publishAll(deps: Deps, items: readonly Item[], token: Token | undefined): Promise<string[]> {
  const notifications = items.flatMap(({ notification }) => notification ?? []);
  const publish = (eventIds: readonly string[]) => {
    const left = eventIds.values();
    const drafts = items.map(({ draft, notification }) =>
      notification === undefined ? draft : withEventId(draft, left.next().value),
    );
    return appendAll(deps.publisher, drafts, token);
  };
  return notifications.length === 0 ? publish([]) : notificationsOf(deps).alongside(notifications, token, publish);
}

/**
 * With a key, the first draft goes alone: only when it is not refused as another body's do the others follow. In one call, a
 * longer body under a used key would publish what the shorter one did not have. Tokens count the valid items and not the
 * places, so that every body has the first one.
 */
async function appendAll(
  publisher: Deps["publisher"],
  drafts: readonly Draft[],
  token: Token | undefined,
): Promise<string[]> {
  const requests = drafts.map((draft, i): AppendRequest => {
    if (token === undefined) return { draft };
    return { draft, token: { key: `${token.key}:${i}`, fingerprint: token.fingerprint, ttlS: TOKEN_TTL_S } };
  });
  if (requests.length === 0) return [];
  if (token === undefined) return (await publisher.append(requests, "rest")).map(idOf);
  const first = (await publisher.append(requests.slice(0, 1), "rest")).map(idOf);
  const rest = requests.length === 1 ? [] : (await publisher.append(requests.slice(1), "rest")).map(idOf);
  return [...first, ...rest];
}

function idOf(result: AppendResult): string {
  if (result.outcome === "token-reused") throw new CarillonError("IDEMPOTENCY_KEY_REUSED");
  if (result.outcome === "fenced") throw new Error("a request without a fence was fenced");
  return result.id;
}
