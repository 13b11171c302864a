/** How the text of one environment variable becomes a value. Each message says what would be right, and never repeats the text. */
import { isIP } from "node:net";
import { isChannelName, isPrincipalId } from "@carillon/protocol";
import { type FirebaseAccount, PUSH_WHEN, type PushRule, readFirebaseAccount } from "@carillon/push";
import { z } from "zod";
import { ApiKeys } from "../auth/api-keys.ts";
import { readPublicKey } from "../auth/public-key.ts";

export interface Address {
  readonly host: string;
  readonly port: number;
}

/** Events whose channel matches `pattern` refresh these namespaces. */
export interface EventRoute {
  readonly pattern: string;
  readonly namespaces: readonly string[];
}

export type TrustProxy = boolean | number | string;

const HOST = /^(?:\[[0-9a-fA-F:.%]+\]|[A-Za-z0-9_.-]{1,253})$/;
const NAME_PATTERN = /^[A-Za-z0-9_.:*-]{1,63}(?:\|[A-Za-z0-9_.:*-]{1,63})*$/;
const WEB_VIEW = /^(?:file:\/\/|[a-z][a-z0-9+.-]{0,30}:\/\/[a-z0-9.-]{1,253}(?::\d{1,5})?)$/i;
const MAX_LIST = 1000;

/** A whole number with its bounds; both ends count. */
export function wholeNumber(min: number, max: number) {
  return parsed((text) => {
    const value = Number(text);
    return /^\d{1,15}$/.test(text) && value >= min && value <= max ? value : undefined;
  }, `a whole number from ${min} to ${max}`);
}

export function oneOf<const T extends string>(values: readonly T[]) {
  return parsed(
    (text) => values.find((value) => value === text.toLowerCase()),
    values.join(", ").replace(/, ([^,]*)$/, " or $1"),
  );
}

export function onOff() {
  return parsed((text) => {
    const lower = text.toLowerCase();
    if (["on", "true", "yes", "1"].includes(lower)) return true;
    return ["off", "false", "no", "0"].includes(lower) ? false : undefined;
  }, "on or off");
}

export function someOf<const T extends string>(values: readonly T[]) {
  return parsed(
    (text): readonly T[] | undefined => {
      const parts = list(text.toLowerCase());
      return parts.length > 0 && parts.every((part) => values.includes(part as T)) ? (unique(parts) as T[]) : undefined;
    },
    `a comma-separated list of ${values.join(", ")}`,
  );
}

/** Text that means something only to whoever uses it: a secret, a name. */
export function text(maxLength = 100_000) {
  return parsed((value) => (value.length <= maxLength ? value : undefined), `text of at most ${maxLength} characters`);
}

export function matching(pattern: RegExp, right: string) {
  return parsed((value) => (pattern.test(value) ? value : undefined), right);
}

export function url(protocols: readonly string[], example: string) {
  return parsed((value) => {
    const parsedUrl = URL.parse(value);
    return parsedUrl !== null && protocols.includes(parsedUrl.protocol) && parsedUrl.hostname !== ""
      ? value
      : undefined;
  }, `a URL like ${example}`);
}

export function apiKeys(pattern: RegExp, right: string) {
  return checked(matching(pattern, right), (value) => new ApiKeys(value));
}

export function publicKey() {
  const pem = /-----BEGIN [A-Z ]*PUBLIC KEY-----|-----BEGIN CERTIFICATE-----/;
  return checked(matching(pem, "a public key in PEM form"), readPublicKey);
}

/** `postgres://` with a host, or with a socket directory in `?host=`. */
export function postgresUrl() {
  return parsed((value) => {
    const parsedUrl = URL.parse(value);
    if (parsedUrl === null || !["postgres:", "postgresql:"].includes(parsedUrl.protocol)) return undefined;
    // pg reads these as `verify-full` and warns that it may not for ever: what is meant is said, and a warning is spared.
    if (parsedUrl.searchParams.get("uselibpqcompat") === "true") return value;
    return value.replace(/([?&]sslmode=)(?:prefer|require|verify-ca)(?=&|$)/, "$1verify-full");
  }, "a URL like postgres://user:password@host:5432/database");
}

export function host() {
  return parsed(
    (value) => (HOST.test(value) || /^[0-9a-fA-F:]+$/.test(value) ? value : undefined),
    "a host name or an address",
  );
}

export function addresses(defaultPort: number) {
  return parsed((value): readonly Address[] | undefined => {
    const found = list(value).map((part) => address(part, defaultPort));
    return found.length > 0 && found.every((item) => item !== undefined) ? found : undefined;
  }, `a comma-separated list of host:port (port ${defaultPort} where none is given)`);
}

export function channelNames() {
  return parsed((value): readonly string[] | undefined => {
    const names = list(value);
    return names.length <= MAX_LIST && names.every(isChannelName) ? unique(names) : undefined;
  }, `a comma-separated list of names of A-Z a-z 0-9 _ . : - , each of at most 63 bytes and not starting with . : or -`);
}

/** A pattern of names: `*` stands for any run of characters, `|` parts alternatives. */
export function namePattern() {
  return matching(NAME_PATTERN, "a pattern of name characters and *, alternatives parted by |");
}

/** Several of those, comma-separated. */
export function namePatterns() {
  return parsed((value): readonly string[] | undefined => {
    const patterns = list(value);
    return patterns.length <= MAX_LIST && patterns.every((pattern) => NAME_PATTERN.test(pattern))
      ? unique(patterns)
      : undefined;
  }, "a comma-separated list of names, with * for any run of characters");
}

/** `users=admin|manager;trips=driver` */
export function namespaceRoles() {
  const rules = rulesOf((namespace, value) => {
    const roles = value.split("|").map((role) => role.trim());
    const right = isChannelName(namespace) && roles.every(isPrincipalId);
    return right ? ([namespace, new Set(roles)] as const) : undefined;
  });
  return parsed((value): ReadonlyMap<string, ReadonlySet<string>> | undefined => {
    const entries = rules(value);
    return entries === undefined ? undefined : new Map(entries);
  }, "namespaces with their roles, like users=admin|manager;trips=driver");
}

export function eventRoutes() {
  return parsed(
    rulesOf((pattern, value): EventRoute | undefined => {
      const namespaces = list(value);
      const right = NAME_PATTERN.test(pattern) && namespaces.length > 0 && namespaces.every(isChannelName);
      return right ? { pattern, namespaces: unique(namespaces) } : undefined;
    }),
    "routes like trip.*=trips,notifications;user.*=users",
  );
}

export function firebaseAccount() {
  return z.string().transform((value, context): FirebaseAccount => {
    try {
      return readFirebaseAccount(value);
    } catch (error) {
      if (!(error instanceof TypeError)) throw error;
      context.addIssue({ code: "custom", message: error.message });
      return z.NEVER;
    }
  });
}

/** `SYSTEM_*=always;*=device-not-foreground` */
export function pushPolicy() {
  return parsed(
    rulesOf((pattern, name): PushRule | undefined => {
      const when = PUSH_WHEN.find((known) => known === name);
      return NAME_PATTERN.test(pattern) && when !== undefined ? { pattern, when } : undefined;
    }),
    `rules like SYSTEM_ALERT=always;*=device-not-foreground, each with ${PUSH_WHEN.join(", ")}`,
  );
}

export function origins() {
  return parsed((value): readonly string[] | undefined => {
    const found = list(value).map((part) => {
      if (part === "*" || part.toLowerCase() === "null") return part.toLowerCase();
      const parsedUrl = URL.parse(part);
      // Of a web view. It has no origin as URLs have one: browsers send it as it is.
      if (parsedUrl?.origin === "null" && WEB_VIEW.test(part)) return part.toLowerCase();
      const web = parsedUrl !== null && ["http:", "https:"].includes(parsedUrl.protocol);
      return web && parsedUrl.href === `${parsedUrl.origin}/` ? parsedUrl.origin : undefined;
    });
    return found.every((item) => item !== undefined) ? unique(found) : undefined;
  }, "a comma-separated list of origins like https://app.example.com (scheme, host and port, no path), capacitor://localhost, file://, null, or *");
}

export function trustProxy() {
  return parsed((value): TrustProxy | undefined => {
    const lower = value.toLowerCase();
    if (["off", "false", "no"].includes(lower)) return false;
    if (["on", "true", "yes"].includes(lower)) return true;
    if (/^\d{1,2}$/.test(value)) return Number(value);
    const parts = list(value);
    return parts.length > 0 && parts.every(isProxy) ? parts.join(",") : undefined;
  }, "off, on, the number of proxies in front (only where nothing else reaches the port), or their addresses and ranges (10.0.0.0/8,loopback)");
}

/** A rule, and what else says by a `TypeError` what is wrong: `must …`. */
function checked(rule: z.ZodType<string, string>, check: (value: string) => unknown) {
  return rule.superRefine((value, context) => {
    try {
      check(value);
    } catch (error) {
      if (!(error instanceof TypeError)) throw error;
      context.addIssue({ code: "custom", message: error.message });
    }
  });
}

function parsed<T>(parse: (text: string) => T | undefined, right: string) {
  return z.string().transform((value, context): T => {
    const result = parse(value);
    if (result !== undefined) return result;
    context.addIssue({ code: "custom", message: `must be ${right}` });
    return z.NEVER;
  });
}

function address(part: string, defaultPort: number): Address | undefined {
  const match = /^(\[[^\]]+\]|[^:]+)(?::(\d{1,5}))?$/.exec(part);
  const name = match?.[1] ?? "";
  const port = match?.[2] === undefined ? defaultPort : Number(match[2]);
  if (!HOST.test(name) || port < 1 || port > 65535) return undefined;
  return { host: name.replace(/^\[|\]$/g, ""), port };
}

function isProxy(part: string): boolean {
  if (["loopback", "linklocal", "uniquelocal"].includes(part)) return true;
  const [ip = "", bits, ...rest] = part.split("/");
  const version = isIP(ip);
  if (version === 0 || rest.length > 0) return false;
  return bits === undefined || (/^\d{1,3}$/.test(bits) && Number(bits) <= (version === 4 ? 32 : 128));
}

/** `left=right;left=right`, each read by `read`; `undefined` where it can't read one. */
function rulesOf<T>(read: (left: string, right: string) => T | undefined) {
  return (value: string): readonly T[] | undefined => {
    const rules = split(value, ";").map((rule) => {
      const [left = "", right = "", ...rest] = rule.split("=").map((side) => side.trim());
      return rest.length === 0 ? read(left, right) : undefined;
    });
    return rules.every((rule) => rule !== undefined) ? rules : undefined;
  };
}

function list(value: string): string[] {
  return split(value, ",");
}

function split(value: string, separator: string): string[] {
  return value
    .split(separator)
    .map((part) => part.trim())
    .filter((part) => part !== "");
}

function unique<T>(items: readonly T[]): T[] {
  return [...new Set(items)];
}
