import pg from "pg";

/**
 * Postgres answers, and is set up in a way that no retry will change: the node says so and ends. Anything else that goes wrong with
 * Postgres is "away", for which a node waits.
 */
export class SetupError extends Error {
  override readonly name = "SetupError";
  readonly what: string;
  readonly fix: string;

  /** `message` is both. */
  constructor(what: string, fix: string, options?: ErrorOptions) {
    super(`${what}: ${fix}`, options);
    this.what = what;
    this.fix = fix;
  }
}

/** What Node says of a certificate that it has no reason to trust. One that has run out is renewed at the other end: that is waited for. */
const UNTRUSTED = new Set([
  "DEPTH_ZERO_SELF_SIGNED_CERT",
  "SELF_SIGNED_CERT_IN_CHAIN",
  "UNABLE_TO_GET_ISSUER_CERT",
  "UNABLE_TO_GET_ISSUER_CERT_LOCALLY",
  "UNABLE_TO_VERIFY_LEAF_SIGNATURE",
  "ERR_TLS_CERT_ALTNAME_INVALID",
]);
const AWAY_NOW = new Set(["57P01", "57P02", "57P03", "53300", "53400", "40001", "40P01", "55P03", "57014"]);

/** What `error` says about the set-up; `undefined` where it is not about that. The message never has the connection string. */
export function setupErrorFrom(error: unknown): SetupError | undefined {
  if (error instanceof SetupError) return error;
  const tls = tlsErrorFrom(error);
  if (tls !== undefined) return tls;
  if (!(error instanceof pg.DatabaseError) || error.code === undefined || AWAY_NOW.has(error.code)) return undefined;
  const cause = { cause: error };
  switch (error.code) {
    case "28P01":
    case "28000":
      return new SetupError(
        `Postgres refuses the login (${error.message})`,
        "check user and password in DATABASE_URL",
        cause,
      );
    case "3D000":
      return new SetupError(error.message, "create it, or correct DATABASE_URL", cause);
    case "42501":
      return new SetupError(
        `insufficient rights in Postgres (${error.message})`,
        "the role in DATABASE_URL needs the right to create schemas in its database (grant create on database … to …), or let its " +
          "owner run the migrations, grant this role what infra/postgres/roles.sql names, and set MIGRATE=off",
        cause,
      );
    case "42P01":
    case "3F000":
    case "42883":
      return new SetupError(
        `Carillon's schema is missing or incomplete (${error.message})`,
        "start once with MIGRATE=on",
        cause,
      );
    case "25006":
      return standby(cause);
    default:
      return undefined;
  }
}

function tlsErrorFrom(error: unknown): SetupError | undefined {
  if (!(error instanceof Error)) return undefined;
  const { code, syscall } = error as NodeJS.ErrnoException;
  const cause = { cause: error };
  if (code !== undefined && UNTRUSTED.has(code)) {
    return new SetupError(
      `Postgres shows a certificate that is not trusted (${error.message})`,
      "name its authority by sslrootcert=/path/to/ca.pem in DATABASE_URL (and DATABASE_LISTEN_URL), or for the whole node by " +
        "NODE_EXTRA_CA_CERTS; the host has to be one that it is for",
      cause,
    );
  }
  if (syscall === "open") {
    return new SetupError(
      `a file that DATABASE_URL or DATABASE_LISTEN_URL names can't be read (${error.message})`,
      "correct its path, or let this process read it",
      cause,
    );
  }
  // pg has no code for it.
  if (error.message === "The server does not support SSL connections") {
    return new SetupError(
      "Postgres speaks no TLS, which sslmode in DATABASE_URL asks for",
      "switch ssl on in Postgres, or set sslmode=disable where nobody else is on the network",
      cause,
    );
  }
  return undefined;
}

export function standby(options?: ErrorOptions): SetupError {
  return new SetupError(
    "the Postgres that is configured is a standby (read-only, in recovery), which can neither LISTEN nor hold the outbox",
    "let DATABASE_URL, and DATABASE_LISTEN_URL where set, name the primary (with several hosts: target_session_attrs=read-write at " +
      "your pooler or DNS)",
    options,
  );
}
