/** firebase-admin, tamed: one request for each message, an answer to each within a bound, and every answer as it was. */
import { Agent } from "node:https";
import { type App, deleteApp, getApps, initializeApp } from "firebase-admin/app";
import { getMessaging, type Message, type Messaging, type SendResponse } from "firebase-admin/messaging";
import { JWT } from "google-auth-library";
import type { FirebaseAccount } from "./account.ts";
import type { FcmFailure } from "./classify.ts";

export type FcmResult = { readonly name: string } | { readonly failure: FcmFailure };

export interface Fcm {
  /** At most 500, as firebase-admin takes. An answer for each, in order; never rejects. `validateOnly`: FCM looks at it and sends nothing. */
  send(messages: readonly Message[], options?: { readonly validateOnly?: boolean }): Promise<FcmResult[]>;
  close(): Promise<void>;
}

const MAX_SOCKETS = 50;
const SCOPE = "https://www.googleapis.com/auth/firebase.messaging";
const TOKEN_TIMEOUT_MS = 10_000;
/** firebase-admin gives up a request after 15 s of silence; this is for what drips. */
const BATCH_TIMEOUT_MS = 45_000;

let apps = 0;

export class FirebaseFcm implements Fcm {
  readonly #app: App;
  readonly #messaging: Messaging;
  readonly #agent = new Agent({ keepAlive: true, maxSockets: MAX_SOCKETS, timeout: 15_000 });

  constructor(account: FirebaseAccount) {
    const jwt = new JWT({ email: account.clientEmail, key: account.privateKey, scopes: [SCOPE] });
    this.#app = initializeApp(
      {
        projectId: account.projectId,
        credential: { getAccessToken: () => accessToken(jwt) },
        httpAgent: this.#agent,
      },
      `carillon-${++apps}`,
    );
    this.#messaging = getMessaging(this.#app);
    // Over HTTP/2 `sendEach` never settles when the peer closes cleanly.
    this.#messaging.enableLegacyHttpTransport();
    sendOnce(this.#messaging);
  }

  async send(messages: readonly Message[], options: { readonly validateOnly?: boolean } = {}): Promise<FcmResult[]> {
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<undefined>((resolve) => {
      timer = setTimeout(() => resolve(undefined), BATCH_TIMEOUT_MS);
    });
    try {
      const sent = this.#messaging.sendEach([...messages], options.validateOnly === true);
      sent.catch(() => {}); // when it is late
      const answer = await Promise.race([sent, late]);
      if (answer === undefined) {
        // Whatever is still under way ends here, or it could arrive after it was given up.
        this.#agent.destroy();
        return messages.map(() => ({ failure: { message: `no answer within ${BATCH_TIMEOUT_MS} ms` } }));
      }
      return answer.responses.map(resultOf);
    } catch (error) {
      return messages.map(() => ({ failure: failureOf(error) }));
    } finally {
      clearTimeout(timer);
    }
  }

  async close(): Promise<void> {
    if (getApps().includes(this.#app)) await deleteApp(this.#app);
    this.#agent.destroy();
  }
}

/**
 * By itself firebase-admin sends a message again, up to four times and waiting up to a minute each, after a 503 or a reset: beyond any
 * timeout of ours, and without a trace. Retrying is the queue's. There is no public way to say so; a test counts the requests.
 */
function sendOnce(messaging: Messaging): void {
  const { messagingRequestHandler: handler } = messaging as unknown as {
    messagingRequestHandler?: { httpClient?: { retry?: { maxRetries: number } } };
  };
  if (handler?.httpClient?.retry === undefined)
    throw new Error("this version of firebase-admin retries in another way");
  handler.httpClient.retry.maxRetries = 0;
}

async function accessToken(jwt: JWT): Promise<{ access_token: string; expires_in: number }> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_resolve, reject) => {
    const error = Object.assign(new Error("no access token in time"), { code: "ETIMEDOUT" });
    timer = setTimeout(() => reject(error), TOKEN_TIMEOUT_MS);
  });
  try {
    const { token } = await Promise.race([jwt.getAccessToken(), late]);
    if (typeof token !== "string") throw new Error("the answer has no access token");
    const expiresInMs = (jwt.credentials.expiry_date ?? Date.now() + 3_600_000) - Date.now();
    return { access_token: token, expires_in: Math.max(Math.floor(expiresInMs / 1000), 1) };
  } catch (error) {
    throw new TokenError(error);
  } finally {
    clearTimeout(timer);
  }
}

/** No access token: because Google refuses this account, or because it could not be asked. */
class TokenError extends Error {
  readonly refused: boolean;

  constructor(cause: unknown) {
    const { status, response, code } = cause as { status?: number; response?: { status?: number }; code?: unknown };
    const answered = status ?? response?.status;
    const described = answered === undefined ? String(code ?? "no answer") : `status ${answered}`;
    super(`no access token for the service account: ${described}`);
    this.refused = answered !== undefined && answered >= 400 && answered < 500 && answered !== 429;
  }
}

function resultOf({ success, messageId, error }: SendResponse): FcmResult {
  if (success && typeof messageId === "string") return { name: messageId };
  if (success) return { failure: { status: 200, message: "the answer has no name" } };
  return { failure: failureOf(error) };
}

function failureOf(error: unknown): FcmFailure {
  const token = tokenErrorIn(error);
  if (token !== undefined) {
    return { message: token.message, ...(token.refused && { clientCode: "app/invalid-credential" }) };
  }
  const { code, message = String(error), httpResponse } = error as Described;
  const { status, headers = {}, data } = httpResponse ?? {};
  const details = detailsOf(data);
  const detail = (type: string) => details.find((item) => String(item["@type"]).endsWith(type));
  const fcmCode = detail("google.firebase.fcm.v1.FcmError")?.errorCode;
  const fields = listOf(detail("google.rpc.BadRequest")?.fieldViolations).map(({ field }) => String(field));
  const subject = String(listOf(detail("google.rpc.QuotaFailure")?.violations)[0]?.subject ?? "");
  return {
    status,
    fcmCode: typeof fcmCode === "string" ? fcmCode : undefined,
    clientCode: code,
    message: message.slice(0, 500),
    retryAfterS: retryAfterOf(headers["retry-after"]),
    fields: fields.length > 0 ? fields : undefined,
    quotaOf: subject === "" ? undefined : subject.split(":", 1)[0],
  };
}

interface Described {
  readonly code?: string;
  readonly message?: string;
  readonly httpResponse?: {
    readonly status?: number;
    readonly headers?: Readonly<Record<string, unknown>>;
    readonly data?: unknown;
  };
}

function tokenErrorIn(error: unknown): TokenError | undefined {
  for (let at = error, depth = 0; at instanceof Error && depth < 5; at = at.cause, depth++) {
    if (at instanceof TokenError) return at;
  }
  return undefined;
}

function detailsOf(data: unknown): Record<string, unknown>[] {
  const error = (data as { error?: { details?: unknown } } | undefined)?.error;
  return listOf(typeof error === "object" ? error?.details : undefined);
}

function listOf(value: unknown): Record<string, unknown>[] {
  return Array.isArray(value) ? value.filter((item) => typeof item === "object" && item !== null) : [];
}

/** Seconds, or a date. */
function retryAfterOf(header: unknown): number | undefined {
  if (typeof header !== "string") return undefined;
  const seconds = /^\d{1,9}$/.test(header) ? Number(header) : (Date.parse(header) - Date.now()) / 1000;
  return Number.isFinite(seconds) && seconds >= 0 ? seconds : undefined;
}
