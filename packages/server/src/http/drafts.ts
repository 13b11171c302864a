/** From validated bodies to drafts: the checks that need the settings, in one place for the single calls and the batch. */
import {
  type Audience,
  CarillonError,
  type Draft,
  type JsonText,
  type PushContent,
  parseChannel,
  type publicationBody,
  type refreshBody,
  stringifyJson,
} from "@carillon/protocol";
import type { Notification } from "@carillon/push";
import type { z } from "zod";

export interface DraftRules {
  readonly namespaces: ReadonlySet<string>;
  readonly maxPayloadBytes: number;
}

export function messageDraft(channel: string, payload: unknown, rules: DraftRules): Draft {
  return { channel: parseChannel(channel, rules.namespaces), payload: payloadText(payload, rules) };
}

export function refreshDraft(namespace: string, body: z.output<typeof refreshBody>, rules: DraftRules): Draft {
  const channel = parseChannel(namespace, rules.namespaces);
  if (!rules.namespaces.has(channel)) {
    throw new CarillonError("UNKNOWN_NAMESPACE", `${channel} is not one of ${[...rules.namespaces].join(", ")}`);
  }
  return withParts({ channel, scope: body.scope }, body, rules);
}

export function publicationDraft(body: z.output<typeof publicationBody>, rules: DraftRules): Draft {
  const channel = parseChannel(body.channel, rules.namespaces);
  if (body.scope === undefined && !("payload" in body)) {
    throw new CarillonError("INVALID_REQUEST", "a publication has a scope, a payload or both");
  }
  return withParts(body.scope === undefined ? { channel } : { channel, scope: body.scope }, body, rules);
}

function withParts(draft: Draft, body: { payload?: unknown; to?: Audience | undefined }, rules: DraftRules): Draft {
  return {
    ...draft,
    ...("payload" in body && { payload: payloadText(body.payload, rules) }),
    ...(body.to !== undefined && { to: body.to }),
  };
}

function payloadText(payload: unknown, rules: DraftRules): JsonText {
  const text = stringifyJson(payload);
  const bytes = Buffer.byteLength(text);
  if (bytes > rules.maxPayloadBytes) {
    throw new CarillonError(
      "PAYLOAD_TOO_LARGE",
      `the payload has ${bytes} bytes; at most ${rules.maxPayloadBytes} are allowed`,
    );
  }
  return text;
}

/** What `push` beside a publication asks for; `undefined` where it doesn't. */
export function notificationBeside(
  draft: Draft,
  { push }: { readonly push?: PushContent | undefined },
): Notification | undefined {
  if (push === undefined) return undefined;
  const { users, ...others } = draft.to ?? {};
  if (users === undefined || users.length === 0 || Object.keys(others).length > 0) {
    throw new CarillonError("INVALID_REQUEST", "push needs to.users, and nothing else in to");
  }
  return { userIds: users, type: draft.scope ?? draft.channel, ...push, push: true, butChannel: draft.channel };
}

/** So that whoever shows what a refresh is about can say that it was seen. */
export function withEventId(draft: Draft, eventId: string | undefined): Draft {
  if (eventId === undefined || draft.scope === undefined || draft.payload !== undefined) return draft;
  return { ...draft, payload: stringifyJson({ eventId }) };
}
