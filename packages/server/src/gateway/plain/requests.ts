/** What plain clients say, as the requests that Socket.IO's clients make by events; and the answers. Throws `CarillonError`. */
import { type Ack, CarillonError, isPlainObject, numberText, parseJson, REQUEST } from "@carillon/protocol";
import type { RawData } from "ws";

export type RequestType = keyof typeof ANSWERS | "ping";

export interface PlainRequest {
  readonly type: RequestType;
  readonly body: Readonly<Record<string, unknown>>;
  /** A number or short text that its answer repeats. */
  readonly ref: unknown;
}

/** What an answer to each is called. */
const ANSWERS = {
  auth: "authenticated",
  subscribe: "subscribed",
  unsubscribe: "unsubscribed",
  join: "joined",
  leave: "left",
  publish: "published",
  state: "noted",
  seen: "noted",
} as const;

const MAX_REF_LENGTH = 128;

export function parseRequest(data: RawData, isBinary: boolean): PlainRequest {
  if (isBinary) throw new CarillonError("INVALID_REQUEST", "frames are text, not binary");
  const body = parsed(data.toString());
  if (!isPlainObject(body)) throw new CarillonError("INVALID_REQUEST", "a frame is a JSON object");
  const { type } = body;
  if (typeof type !== "string") throw new CarillonError("INVALID_REQUEST", "a frame has a type, which is text");
  if (type !== "ping" && !Object.hasOwn(ANSWERS, type))
    throw new CarillonError("UNKNOWN_EVENT", `a type is ${Object.keys(ANSWERS).join(", ")} or ping`);
  return { type: type as RequestType, body, ref: refOf(body.ref) };
}

/** The event of Socket.IO that asks for the same. */
export function eventOf(type: Exclude<RequestType, "ping">): string {
  return type === "auth" ? REQUEST.authRefresh : type;
}

export function answerText({ type, ref }: PlainRequest, answer: Ack): string {
  if (!answer.ok) return errorText(answer.error, ref);
  const { ok: _, ...told } = answer;
  const name = type === "ping" ? "pong" : ANSWERS[type];
  return JSON.stringify({ type: name, ...told, ref });
}

export function errorText({ code, message, retryAfterS }: ErrorLike, ref?: unknown): string {
  return JSON.stringify({ type: "error", code, message, retryAfterS, ref });
}

interface ErrorLike {
  readonly code: string;
  readonly message: string;
  readonly retryAfterS?: number | undefined;
}

function parsed(text: string): unknown {
  try {
    return parseJson(text);
  } catch {
    throw new CarillonError("INVALID_JSON", "a frame is JSON, nested no deeper than documented");
  }
}

function refOf(ref: unknown): unknown {
  const isText = typeof ref === "string" && ref.length <= MAX_REF_LENGTH;
  const isNumber = (numberText(ref)?.length ?? Number.POSITIVE_INFINITY) <= MAX_REF_LENGTH;
  if (ref !== undefined && !isText && !isNumber)
    throw new CarillonError("INVALID_REQUEST", `ref is a number, or text of at most ${MAX_REF_LENGTH} characters`);
  return ref;
}
