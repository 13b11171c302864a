/** The REST calls of a command: one that may be repeated is, while its time lasts. */
import { setTimeout as sleep } from "node:timers/promises";
import { type ErrorCode, readJson } from "@carillon/protocol";
import { Failure, reasonOf } from "./failure.ts";
import type { Endpoint } from "./settings.ts";

export interface CallOptions {
  readonly method?: "GET" | "POST";
  /** JSON text, sent as it is: numbers keep their digits. */
  readonly body?: string;
  readonly idempotencyKey?: string;
  /** For repeating; default 15 s. */
  readonly timeoutMs?: number;
  readonly signal: AbortSignal;
}

interface Problem {
  readonly code?: string;
  readonly detail?: string;
}

/** The node understood, and said no. */
export class Refusal extends Failure {
  readonly code: string;

  constructor(code: string, what: string, fix: string | undefined) {
    super(what, fix);
    this.code = code;
  }
}

const ATTEMPT_MS = 10_000;
/** A node that restarts is back by then; a mistyped address is told soon. */
const CONNECT_MS = 3_000;
const PAUSE_MS = 300;
const MAX_PAUSE_MS = 5_000;

/** The answer's JSON. Throws `Failure` with what to do about it. A POST is repeated only under an idempotency key. */
export async function call<T>(endpoint: Endpoint, path: string, options: CallOptions): Promise<T> {
  const { method = "GET", idempotencyKey, timeoutMs = 15_000, signal } = options;
  const startedAt = performance.now();
  const repeatable = method === "GET" || idempotencyKey !== undefined;
  for (let pauseMs = PAUSE_MS; ; pauseMs = Math.min(2 * pauseMs, MAX_PAUSE_MS)) {
    const attempt = await send(endpoint, path, options);
    if (!(attempt instanceof Retryable)) return attempt as T;
    const waitMs = Math.max(pauseMs, attempt.afterMs);
    const limitMs = attempt.answered ? timeoutMs : CONNECT_MS;
    if (!repeatable || performance.now() + waitMs > startedAt + limitMs) throw attempt.failure;
    await sleep(waitMs, undefined, { signal }).catch(() => {
      throw new Failure("interrupted");
    });
  }
}

class Retryable {
  readonly failure: Failure;
  readonly answered: boolean;
  readonly afterMs: number;

  constructor(failure: Failure, { answered, afterMs = 0 }: { answered: boolean; afterMs?: number }) {
    this.failure = failure;
    this.answered = answered;
    this.afterMs = afterMs;
  }
}

async function send(endpoint: Endpoint, path: string, options: CallOptions): Promise<unknown> {
  const { method = "GET", body, idempotencyKey, signal } = options;
  const credential = endpoint.key ?? endpoint.token;
  let response: Response;
  let text: string;
  try {
    response = await fetch(new URL(path, endpoint.url), {
      method,
      headers: {
        accept: "application/json",
        ...(body !== undefined && { "content-type": "application/json" }),
        ...(credential !== undefined && { authorization: `Bearer ${credential}` }),
        ...(idempotencyKey !== undefined && { "idempotency-key": idempotencyKey }),
      },
      ...(body !== undefined && { body }),
      signal: AbortSignal.any([signal, AbortSignal.timeout(ATTEMPT_MS)]),
    });
    text = await response.text();
  } catch (error) {
    if (signal.aborted) throw new Failure("interrupted");
    return new Retryable(unreachable(endpoint.url, error), { answered: false });
  }
  const answer = readJson(text);
  if (response.ok && answer !== undefined) return answer;
  const failure = refusal(endpoint, response, answer as Problem | undefined);
  if (![429, 502, 503, 504].includes(response.status)) throw failure;
  return new Retryable(failure, {
    answered: true,
    afterMs: Number(response.headers.get("retry-after") ?? 0) * 1000 || 0,
  });
}

export function unreachable(url: URL, error: unknown): Failure {
  return new Failure(
    `nothing answers at ${url.origin} (${reasonOf(error)})`,
    "start a node (npm start), or say where one is by --url or CARILLON_URL",
  );
}

function refusal(endpoint: Endpoint, response: Response, problem: Problem | undefined): Failure {
  const { code, detail } = problem ?? {};
  if (code === undefined) {
    return new Failure(
      `${response.url} answers ${response.status}, and not as Carillon does`,
      "check the URL: it names something else, or a proxy in between answers by itself",
    );
  }
  const what = `the node refuses: ${detail ?? code} (${response.status} ${code})`;
  return new Refusal(code, what, FIXES[code as ErrorCode]?.(endpoint));
}

const FIXES: { readonly [code in ErrorCode]?: (endpoint: Endpoint) => string } = {
  UNAUTHENTICATED: ({ key, token }) =>
    key === undefined && token === undefined
      ? "set CARILLON_KEY to the secret of one of the node's API_KEYS, or CARILLON_TOKEN to a user's token (carillon token makes one)"
      : key === undefined
        ? "give a token that this node can verify (JWT_SECRET, JWT_PUBLIC_KEY or JWKS_URL of the node)"
        : "give the secret of one of the node's API_KEYS (name:secret:rights), without its name",
  TOKEN_EXPIRED: () => "get a new token: for development, carillon token makes one",
  FORBIDDEN: () =>
    "use a key with that right (API_KEYS=name:secret:publish:*+refresh:*+operate), or another user's token",
  UNKNOWN_NAMESPACE: () => "name one of the node's NAMESPACES, or use carillon publish for a channel that is none",
  BUS_UNAVAILABLE: () => "carillon doctor says what is wrong with Redis; nothing was acknowledged",
  NOT_READY: () => "carillon doctor says what the node waits for",
  INGRESS_DISABLED: () => "add rest to the node's INGRESS",
  NOT_CONFIGURED: () => "start the node with the settings that it names",
};
