/** Which errors of Redis and its connection mean what. */

/** Redis could not be asked, or did not answer: whether the command ran is unknown. */
export class Unreachable extends Error {
  constructor(message: string) {
    super(message);
    this.name = "Unreachable";
  }
}

/** The word that a Redis error begins with; before Redis 7 errors inside scripts have it further back. */
export function redisErrorCode(error: unknown): string | undefined {
  if (!(error instanceof Error)) return undefined;
  return /^(?:ERR Error running script.*?: -)?([A-Z]+)\b/.exec(error.message)?.[1];
}

/** Passes by itself, soon: worth another attempt within the caller's time. */
export function isTransient(error: unknown): boolean {
  return isConnectionError(error) || TRANSIENT.has(redisErrorCode(error) ?? "");
}

/** Nothing is wrong with the request: Redis is away, full, or set up against us. Anything else that it refuses is our bug. */
export function isOutage(error: unknown): boolean {
  return isTransient(error) || OUTAGE.has(redisErrorCode(error) ?? "");
}

/** Redis is not, or no longer, where writes go. */
export function isDemotion(error: unknown): boolean {
  return DEMOTION.has(redisErrorCode(error) ?? "");
}

export function isAuthenticationFailure(error: unknown): boolean {
  return AUTHENTICATION.has(redisErrorCode(error) ?? "");
}

function isConnectionError(error: unknown): boolean {
  if (error instanceof Unreachable) return true;
  if (!(error instanceof Error) || error.name === "ReplyError") return false;
  // ioredis has no classes for these.
  return /Stream isn't writeable|Connection is closed|Socket timeout|ECONN|ETIMEDOUT|EPIPE|Command aborted/.test(
    error.message,
  );
}

const DEMOTION = new Set(["READONLY", "MOVED"]);
const AUTHENTICATION = new Set(["WRONGPASS", "NOAUTH"]);
const TRANSIENT = new Set([
  ...DEMOTION,
  "LOADING",
  "MASTERDOWN",
  "CLUSTERDOWN",
  "TRYAGAIN",
  "ASK",
  "BUSY",
  "UNBLOCKED",
]);
const OUTAGE = new Set([...AUTHENTICATION, "OOM", "MISCONF", "NOREPLICAS", "NOPERM", "NOPROTO", "UNKILLABLE"]);
