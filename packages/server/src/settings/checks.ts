/** What is right for each setting alone and wrong for two of them together. */
import type { Values } from "./schema.ts";

export interface Fault {
  readonly name: string;
  readonly message: string;
}

type Report = (name: string, message: string) => void;

/** Adds to `faults`; keeps silent where a setting that it needs is already in there, so that one mistake is told once. */
export function checkTogether(values: Values, given: (name: string) => boolean, faults: Fault[]): void {
  const fault: Report = (name, message) => void faults.push({ name, message });
  const faulty = (name: string) => faults.some((known) => known.name === name || known.name === `${name}_FILE`);
  checkAuth(values, fault, faulty);
  checkNamespaces(values, given, fault, faulty);
  checkPorts(values, fault);
  if (values.DATABASE_LISTEN_URL !== undefined && values.DATABASE_URL === undefined && !faulty("DATABASE_URL")) {
    fault("DATABASE_LISTEN_URL", "is set without DATABASE_URL; set DATABASE_URL, and this only where that is a pooler");
  }
  if (values.DRAIN_DELAY_S > values.DRAIN_TIMEOUT_S) fault("DRAIN_DELAY_S", "must be at most DRAIN_TIMEOUT_S");
}

/** Told at start, but no reason not to start. */
export function weakSecrets(values: Values): string[] {
  const short = values.JWT_SECRET !== undefined && values.JWT_SECRET.length < 32;
  return short ? ["JWT_SECRET has fewer than 32 characters and can be guessed from any token"] : [];
}

function checkAuth(values: Values, fault: Report, faulty: (name: string) => boolean): void {
  if (values.AUTH === "off") {
    if (values.NODE_ENV?.toLowerCase() === "production") {
      fault(
        "AUTH",
        "must not be off with NODE_ENV=production; configure JWT_SECRET, JWT_PUBLIC_KEY, JWKS_URL, AUTH_URL or API_KEYS",
      );
    }
    return;
  }
  const ways = ["JWT_SECRET", "JWT_PUBLIC_KEY", "JWKS_URL", "AUTH_URL", "API_KEYS"] as const;
  if (faulty("AUTH") || ways.some((way) => values[way] !== undefined || faulty(way))) return;
  fault(
    "AUTH",
    `has nothing to check callers with: set one of ${ways.join(", ")}, or AUTH=off to try it out on this machine`,
  );
}

function checkNamespaces(
  values: Values,
  given: (name: string) => boolean,
  fault: Report,
  faulty: (name: string) => boolean,
): void {
  if (values.NAMESPACES.length === 0) fault("NAMESPACES", "must name at least one namespace");
  if (values.NAMESPACES.includes("channels")) {
    fault("NAMESPACES", "must not contain channels, which is the namespace of every channel");
  }
  const closed = [...values.NAMESPACE_ROLES.keys()].filter((name) => !values.NAMESPACES.includes(name));
  if (closed.length > 0 && !faulty("NAMESPACES")) {
    fault("NAMESPACE_ROLES", `must name namespaces of NAMESPACES only; ${closed.join(", ")} is not there`);
  }
  if (faulty("NAMESPACES")) return;
  for (const name of ["EVENT_ROUTES", "NOTIFY_ROUTES"] as const) {
    if (!given(name) || faulty(name)) continue;
    const targets = new Set(values[name].flatMap((route) => route.namespaces));
    const unknown = [...targets].filter((target) => !values.NAMESPACES.includes(target));
    if (unknown.length > 0) {
      fault(name, `must lead to namespaces of NAMESPACES only; ${unknown.join(", ")} is not there`);
    }
  }
}

function checkPorts(values: Values, fault: Report): void {
  const { PORT, WS_PORT, METRICS_PORT } = values;
  // 0 is any free port, which is never another's.
  if (WS_PORT !== undefined && WS_PORT !== 0 && WS_PORT === PORT) {
    fault("WS_PORT", "is the same as PORT; leave it out to share one port");
  }
  if (METRICS_PORT !== undefined && METRICS_PORT !== 0 && [PORT, WS_PORT].includes(METRICS_PORT)) {
    fault("METRICS_PORT", "is the same as PORT or WS_PORT; leave it out to share PORT");
  }
}
