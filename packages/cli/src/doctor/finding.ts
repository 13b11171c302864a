/** What the doctor says. `skipped`: it could not be looked at, and `fix` says what that takes. */
export interface Finding {
  /** Stable, for scripts: `redis.persistence`. */
  readonly check: string;
  readonly status: "ok" | "warning" | "problem" | "skipped";
  readonly what: string;
  readonly fix?: string;
  /** A page of this repository, with its heading. */
  readonly docs?: string;
}

interface Advice {
  readonly fix: string;
  readonly docs?: string;
}

export const DOCS = {
  cli: "docs/cli.md#carillon-doctor",
  configuration: "docs/configuration.md",
  nginx: "docs/deployment.md#what-nginx-does",
  redis: "docs/deployment.md#redis",
  postgres: "docs/deployment.md#postgres",
  poolers: "docs/postgres.md#poolers-and-standbys",
  notify: "docs/postgres.md#plain-notify",
  notReady: "docs/operations.md#carillonnotready",
  busDeaf: "docs/operations.md#carillonbusdeaf",
  security: "SECURITY.md",
} as const;

export function ok(check: string, what: string): Finding {
  return { check, status: "ok", what };
}

export function warning(check: string, what: string, advice: Advice): Finding {
  return { check, status: "warning", what, ...advice };
}

export function problem(check: string, what: string, advice: Advice): Finding {
  return { check, status: "problem", what, ...advice };
}

export function skipped(check: string, what: string, fix: string): Finding {
  return { check, status: "skipped", what, fix };
}
