/** What plain clients say, as the requests that Socket.IO's clients make by events; and the answers. */
import {
  type Ack,
  CarillonError,
  isPlainObject,
  MAX_JSON_DEPTH,
  numberText,
  parseJson,
  REQUEST,
} from "@carillon/protocol";
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

/** What a frame asks for; or why it asks for nothing, with its `ref` if that can be told. */
export function readFrame(data: RawData, isBinary: boolean): PlainRequest | { error: CarillonError; ref?: unknown } {
  if (isBinary) return { error: new CarillonError("INVALID_REQUEST", "frames are text, not binary") };
  const body = parsed(data.toString());
  if (body instanceof CarillonError) return { error: body };
  if (!isPlainObject(body)) return { error: new CarillonError("INVALID_REQUEST", "a frame is a JSON object") };
  const { type, ref } = body;
  if (!isRef(ref)) {
    const rule = `ref is a number, or text of at most ${MAX_REF_LENGTH} characters`;
    return { error: new CarillonError("INVALID_REQUEST", rule) };
  }
  if (typeof type !== "string")
    return { error: new CarillonError("INVALID_REQUEST", "a frame has a type, which is text"), ref };
  if (type !== "ping" && !Object.hasOwn(ANSWERS, type)) {
    const types = Object.keys(ANSWERS).join(", ");
    return { error: new CarillonError("UNKNOWN_EVENT", `a type is ${types} or ping`), ref };
  }
  return { type: type as RequestType, body, ref };
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
    return new CarillonError("INVALID_JSON", `a frame is JSON, nested at most ${MAX_JSON_DEPTH} levels`);
  }
}

function isRef(ref: unknown): boolean {
  if (ref === undefined) return true;
  const text = typeof ref === "string" ? ref : numberText(ref);
  return text !== undefined && text.length <= MAX_REF_LENGTH;
}
