/**
 * What FCM answers, by a name for tests: the HTTP v1 API's documented errors, those of the gateway in front of it, and nonsense. Texts
 * and shapes as the real service sends them.
 */
export interface FcmAnswer {
  readonly status: number;
  readonly headers?: Readonly<Record<string, string>>;
  /** Text goes out as it is; anything else as JSON. */
  readonly body: unknown;
}

const FCM_ERROR = "type.googleapis.com/google.firebase.fcm.v1.FcmError";
const BAD_REQUEST = "type.googleapis.com/google.rpc.BadRequest";
const QUOTA_FAILURE = "type.googleapis.com/google.rpc.QuotaFailure";

export const ANSWERS = {
  unregistered: failure(404, "NOT_FOUND", "Requested entity was not found.", "UNREGISTERED"),
  "sender-id-mismatch": failure(403, "PERMISSION_DENIED", "SenderId mismatch", "SENDER_ID_MISMATCH"),
  "bad-token": failure(
    400,
    "INVALID_ARGUMENT",
    "The registration token is not a valid FCM registration token",
    "INVALID_ARGUMENT",
  ),
  "bad-token-field": failure(400, "INVALID_ARGUMENT", "Request contains an invalid argument.", "INVALID_ARGUMENT", [
    violation("message.token", "Invalid registration token"),
  ]),
  "bad-payload": failure(
    400,
    "INVALID_ARGUMENT",
    "Invalid value at 'message.data[0].value' (TYPE_STRING), 7",
    undefined,
    [violation("message.data[0].value", "Invalid value at 'message.data[0].value' (TYPE_STRING), 7")],
  ),
  "too-big": failure(400, "INVALID_ARGUMENT", "Android message is too big", "INVALID_ARGUMENT"),
  "apns-key-wrong": failure(
    401,
    "UNAUTHENTICATED",
    "Auth error from APNS or Web Push Service",
    "THIRD_PARTY_AUTH_ERROR",
  ),
  "quota-project": failure(
    429,
    "RESOURCE_EXHAUSTED",
    "Quota exceeded for quota metric 'Send requests' and limit 'Send requests per minute'",
    "QUOTA_EXCEEDED",
    [{ "@type": QUOTA_FAILURE, violations: [{ subject: "project:standin", description: "Message rate exceeded" }] }],
    { "retry-after": "2" },
  ),
  "quota-device": failure(
    429,
    "RESOURCE_EXHAUSTED",
    "Quota exceeded.",
    "QUOTA_EXCEEDED",
    [{ "@type": QUOTA_FAILURE, violations: [{ subject: "device:1", description: "Device message rate exceeded" }] }],
    { "retry-after": "2" },
  ),
  "quota-bare": { status: 429, headers: { "content-type": "text/html" }, body: "<h1>429 Too Many Requests</h1>" },
  unavailable: failure(503, "UNAVAILABLE", "The service is currently unavailable.", "UNAVAILABLE"),
  "unavailable-long": failure(503, "UNAVAILABLE", "The service is currently unavailable.", "UNAVAILABLE", [], {
    "retry-after": "120",
  }),
  internal: failure(500, "INTERNAL", "Internal error encountered.", "INTERNAL"),
  "bad-gateway": { status: 502, headers: { "content-type": "text/html" }, body: "<h1>502 Bad Gateway</h1>" },
  "no-such-project": failure(404, "NOT_FOUND", "Requested entity was not found."),
  "html-404": { status: 404, headers: { "content-type": "text/html" }, body: "<h1>404. That's an error.</h1>" },
  unauthenticated: failure(401, "UNAUTHENTICATED", "Request had invalid authentication credentials."),
  "permission-denied": failure(
    403,
    "PERMISSION_DENIED",
    "Permission 'cloudmessaging.messages.create' denied on resource '//cloudresourcemanager.googleapis.com/projects/standin'",
  ),
  "not-json": { status: 200, headers: { "content-type": "text/html" }, body: "<h1>Please log in to this network</h1>" },
  "no-name": { status: 200, body: {} },
  "cut-json": { status: 200, body: '{"name": "projects/' },
  "unheard-of": failure(418, "UNHEARD_OF", "Something that is in no documentation.", "BRAND_NEW"),
} as const satisfies Record<string, FcmAnswer>;

export type FcmAnswerName = keyof typeof ANSWERS;

/** Of the OAuth server. */
export const OAUTH_ANSWERS = {
  "invalid-grant": { status: 400, body: { error: "invalid_grant", error_description: "Invalid JWT Signature." } },
  "account-disabled": { status: 401, body: { error: "invalid_client", error_description: "The account is disabled." } },
  "oauth-unavailable": { status: 503, body: "upstream connect error" },
} as const satisfies Record<string, FcmAnswer>;

export function failure(
  code: number,
  status: string,
  message: string,
  errorCode?: string,
  details: readonly object[] = [],
  headers?: Readonly<Record<string, string>>,
): FcmAnswer {
  const fcm = errorCode === undefined ? [] : [{ "@type": FCM_ERROR, errorCode }];
  return {
    status: code,
    ...(headers !== undefined && { headers }),
    body: { error: { code, message, status, details: [...fcm, ...details] } },
  };
}

export function violation(field: string, description: string): object {
  return { "@type": BAD_REQUEST, fieldViolations: [{ field, description }] };
}
