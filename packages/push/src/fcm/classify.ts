/** What each answer of FCM means, in one table. `docs/push-sending.md` has the same rows, which a test checks. */

/** What is known of a message that FCM did not accept. */
export interface FcmFailure {
  /** Of the HTTP answer; absent where there was none. */
  readonly status?: number | undefined;
  /** `errorCode` of the `FcmError` detail. firebase-admin's own `error.code` is made of less than that, and is lossy. */
  readonly fcmCode?: string | undefined;
  /** firebase-admin's: `messaging/invalid-payload`, `app/network-error`. */
  readonly clientCode?: string | undefined;
  readonly message: string;
  readonly retryAfterS?: number | undefined;
  /** Fields that a `BadRequest` detail complains about. */
  readonly fields?: readonly string[] | undefined;
  /** Whose quota is used up, of a `QuotaFailure` detail. */
  readonly quotaOf?: string | undefined;
}

/**
 * `delete`: the device is gone. `disable`: it can't be reached by this project. `fail`: no repeating helps, to the dead letters.
 * `retry`: later. `pause`: later, and nobody sends anything until then. `pause-platform`: the same for devices of its platform.
 */
export type Action = "delete" | "disable" | "fail" | "retry" | "pause" | "pause-platform";

export interface FcmVerdict {
  readonly reason: Reason;
  readonly action: Action;
  /** FCM may have accepted the message all the same. */
  readonly uncertain: boolean;
}

interface Row {
  readonly when: string;
  readonly action: Action;
  readonly uncertain?: true;
  readonly matches: (failure: FcmFailure) => boolean;
}

/** The first row that matches counts. */
const ROWS = {
  unregistered: {
    when: "`UNREGISTERED`: the app was removed, or its token replaced",
    action: "delete",
    matches: ({ fcmCode }) => fcmCode === "UNREGISTERED",
  },
  other_sender: {
    when: "`SENDER_ID_MISMATCH`: the token belongs to another Firebase project",
    action: "disable",
    matches: ({ fcmCode }) => fcmCode === "SENDER_ID_MISMATCH",
  },
  platform_key: {
    when: "`THIRD_PARTY_AUTH_ERROR`: the project's APNs key or web push key is wrong",
    action: "pause-platform",
    matches: ({ fcmCode }) => fcmCode === "THIRD_PARTY_AUTH_ERROR",
  },
  bad_token: {
    when: "`INVALID_ARGUMENT` about the token",
    action: "delete",
    matches: (failure) => isInvalid(failure) && isAboutAddress(failure),
  },
  bad_message: {
    when: "`INVALID_ARGUMENT` about anything else, a message that is too big, or one that firebase-admin refuses",
    action: "fail",
    matches: (failure) => isInvalid(failure),
  },
  device_quota: {
    when: "429 `QUOTA_EXCEEDED` of one device",
    action: "retry",
    matches: ({ status, quotaOf }) => status === 429 && quotaOf === "device",
  },
  quota: {
    when: "429 otherwise: the project sends too fast",
    action: "pause",
    matches: ({ status, fcmCode }) => status === 429 || fcmCode === "QUOTA_EXCEEDED",
  },
  unavailable: {
    when: "503 or `UNAVAILABLE`",
    action: "retry",
    matches: ({ status, fcmCode }) => status === 503 || fcmCode === "UNAVAILABLE",
  },
  internal: {
    when: "any other 5xx, or `INTERNAL`",
    action: "retry",
    matches: ({ status = 0, fcmCode }) => status >= 500 || fcmCode === "INTERNAL",
  },
  no_project: {
    when: "404 without a detail: there is no such project, or something else answers in FCM's place. Never a dead token",
    action: "pause",
    matches: ({ status, fcmCode }) => status === 404 && fcmCode === undefined,
  },
  credentials: {
    when: "401 or 403 without a detail, or no access token for the service account",
    action: "pause",
    matches: ({ status, fcmCode, clientCode }) =>
      clientCode === "app/invalid-credential" || ((status === 401 || status === 403) && fcmCode === undefined),
  },
  nonsense: {
    when: "200 with a body that can't be understood",
    action: "retry",
    uncertain: true,
    matches: ({ status = 0 }) => status >= 200 && status < 300,
  },
  network: {
    when: "no answer: refused, reset, or 15 s of silence",
    action: "retry",
    uncertain: true,
    matches: ({ status }) => status === undefined,
  },
  unknown: { when: "anything else", action: "retry", matches: () => true },
} as const satisfies Record<string, Row>;

export type Reason = keyof typeof ROWS;
export const REASONS = Object.keys(ROWS) as Reason[];

/** For the documentation, in order. */
export const CLASSIFICATION: readonly { reason: Reason; when: string; action: Action }[] = REASONS.map((reason) => ({
  reason,
  when: ROWS[reason].when,
  action: ROWS[reason].action,
}));

export function classify(failure: FcmFailure): FcmVerdict {
  const reason = REASONS.find((name) => (ROWS[name] as Row).matches(failure)) ?? "unknown";
  const row: Row = ROWS[reason];
  return { reason, action: row.action, uncertain: row.uncertain === true };
}

function isInvalid({ status, fcmCode, clientCode }: FcmFailure): boolean {
  if (fcmCode !== undefined) return fcmCode === "INVALID_ARGUMENT";
  if (status !== undefined) return status === 400;
  return clientCode === "messaging/invalid-argument" || clientCode === "messaging/invalid-payload";
}

function isAboutAddress({ message, fields = [] }: FcmFailure): boolean {
  const named = fields.some((field) => field === "message.token" || field === "message.fid");
  return named || /registration token|installation id/i.test(message);
}
