import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { CONFIGURATION_DOC, configurationDoc } from "../../src/settings/docs.ts";
import { loadSettings, SettingsError } from "../../src/settings/load.ts";
import { GROUPS, SCHEMA } from "../../src/settings/schema.ts";

const OFF = { AUTH: "off" };
const SECRET = "an-example-secret-of-32-characters";

function faultsOf(env: Record<string, string>): Record<string, string> {
  try {
    loadSettings(env, () => {
      throw new Error("ENOENT");
    });
  } catch (error) {
    if (error instanceof SettingsError)
      return Object.fromEntries(error.faults.map(({ name, message }) => [name, message]));
    throw error;
  }
  return {};
}

test("AUTH=off alone is a node on this machine with the documented defaults", () => {
  const settings = loadSettings(OFF);

  expect(settings).toMatchObject({
    port: 3000,
    host: "127.0.0.1",
    wsPort: undefined,
    redis: undefined,
    postgres: undefined,
    namespaces: ["notifications", "trips", "users"],
    roles: new Set(["gateway", "bridge", "push"]),
    ingress: new Set(["rest", "redis", "postgres", "clients"]),
    eventRoutes: [
      { pattern: "trip.*", namespaces: ["trips", "notifications"] },
      { pattern: "user.*", namespaces: ["users", "notifications"] },
    ],
    maxPayloadBytes: 65_536,
    pgCustomChannels: "*",
    warnings: [],
  });
  expect(settings.pgChannels).toEqual([
    "chat",
    "orders",
    "system",
    "notifications",
    "refresh.notifications",
    "notifications.refresh",
    "refresh.trips",
    "trips.refresh",
    "refresh.users",
    "users.refresh",
  ]);
});

test("empty and blank variables count as absent", () => {
  expect(loadSettings({ ...OFF, PORT: "", REDIS_URL: "  ", WS_PORT: "" })).toEqual(loadSettings(OFF));
});

test("with authentication a node listens on every address unless HOST says otherwise", () => {
  expect(loadSettings({ JWT_SECRET: SECRET }).host).toBe("0.0.0.0");
  expect(loadSettings({ JWT_SECRET: SECRET, HOST: "[::1]" }).host).toBe("::1");
});

test.each([
  ["sslmode=require", "sslmode=verify-full"],
  ["a=b&sslmode=verify-ca&c=d", "a=b&sslmode=verify-full&c=d"],
  ["sslmode=disable", "sslmode=disable"],
  ["uselibpqcompat=true&sslmode=require", "uselibpqcompat=true&sslmode=require"],
])("DATABASE_URL with %s is read as %s", (given, read) => {
  const url = "postgres://u@h/d?";

  expect(loadSettings({ AUTH: "off", DATABASE_URL: url + given }).postgres?.url).toBe(url + read);
});

test("every fault is named at once, with what would be right and without the value", () => {
  const env = {
    PORT: "70000",
    WS_PORT: "x",
    ROLES: "gateway,cook",
    AUTH: "maybe",
    REDIS_URL: "http://user:hunter2@x",
    DATABASE_URL: "mysql://u:hunter2@x",
    EVENT_ROUTES: "trip.*",
    MAX_PAYLOAD_BYTES: "64k",
    LOG_LEVEL: "loud",
    NAMESPACES: "trips,.x",
    CORS_ORIGINS: "https://a.example/path",
    TRUST_PROXY: "10.0.0.0/40",
    MIGRATE: "perhaps",
    API_KEYS: "hunter2",
    JWT_PUBLIC_KEY: "hunter2",
  };

  let message = "";
  try {
    loadSettings(env);
  } catch (error) {
    message = (error as Error).message;
  }

  for (const name of Object.keys(env)) expect(message).toMatch(new RegExp(`^ {2}${name} must be `, "m"));
  expect(message).toMatch(/^15 settings are wrong:/);
  expect(message).toContain("PORT must be a whole number from 0 to 65535");
  expect(message).not.toContain("hunter2");
});

test.each(["PORT", "WS_PORT", "MAX_PAYLOAD_BYTES", "LOG_RETENTION_S"])("%s takes whole numbers only", (name) => {
  for (const text of ["-1", "1.5", "1e3", "0x10", "ten", "1 000", "99999999999999999999", "NaN"]) {
    expect(faultsOf({ ...OFF, [name]: text })).toHaveProperty(name);
  }
});

test("a start without any way to check callers is refused and says what to set", () => {
  expect(faultsOf({}).AUTH).toMatch(/JWT_SECRET.*API_KEYS.*AUTH=off/);
});

test("AUTH=off is refused in production", () => {
  expect(faultsOf({ ...OFF, NODE_ENV: "production" })).toHaveProperty("AUTH");
  expect(faultsOf({ ...OFF, NODE_ENV: "development" })).toEqual({});
});

test.each([
  { JWT_SECRET: SECRET },
  { JWKS_URL: "https://a.example/jwks" },
  { AUTH_URL: "http://app:8000/me" },
  { API_KEYS: "ci:s3cret,ops:other:operate+publish:orders.*" },
])("%j is enough to start", (env) => {
  expect(faultsOf(env as Record<string, string>)).toEqual({});
});

test.each<[Record<string, string>, object]>([
  [
    { REDIS_URL: "redis://u:p%40ss@r.example:6380/2" },
    {
      kind: "single",
      addresses: [{ host: "r.example", port: 6380 }],
      username: "u",
      password: "p@ss",
      database: 2,
      tls: false,
    },
  ],
  [{ REDIS_URL: "rediss://r.example" }, { addresses: [{ host: "r.example", port: 6379 }], tls: true, database: 0 }],
  [{ REDIS_URL: "redis://[::1]:6379" }, { addresses: [{ host: "::1", port: 6379 }] }],
  [
    { REDIS_HOST: "r", REDIS_PASSWORD: "p", REDIS_TLS: "on" },
    { kind: "single", addresses: [{ host: "r", port: 6379 }], password: "p", tls: true },
  ],
  [
    { REDIS_SENTINELS: "a:26380, b", REDIS_SENTINEL_NAME: "main" },
    {
      kind: "sentinel",
      addresses: [
        { host: "a", port: 26380 },
        { host: "b", port: 26379 },
      ],
      sentinelName: "main",
    },
  ],
  [
    { REDIS_CLUSTER_NODES: "a:7000,[::1]:7001" },
    {
      kind: "cluster",
      addresses: [
        { host: "a", port: 7000 },
        { host: "::1", port: 7001 },
      ],
    },
  ],
])("%j is where Redis is", (env, expected) => {
  expect(loadSettings({ ...OFF, ...env }).redis).toMatchObject(expected);
});

test.each<[Record<string, string>, string]>([
  [{ REDIS_URL: "redis://a", REDIS_HOST: "b" }, "REDIS_HOST"],
  [{ REDIS_PASSWORD: "p" }, "REDIS_PASSWORD"],
  [{ REDIS_URL: "redis://a/x" }, "REDIS_URL"],
  [{ REDIS_URL: "redis://u:%zz@a" }, "REDIS_URL"],
  [{ REDIS_SENTINELS: "a:0" }, "REDIS_SENTINELS"],
  [{ DATABASE_LISTEN_URL: "postgres://a/b" }, "DATABASE_LISTEN_URL"],
  [{ WS_PORT: "3000" }, "WS_PORT"],
  [{ METRICS_PORT: "3000" }, "METRICS_PORT"],
  [{ DRAIN_DELAY_S: "9" }, "DRAIN_DELAY_S"],
  [{ NAMESPACES: "trips,channels" }, "NAMESPACES"],
  [{ NAMESPACES: "," }, "NAMESPACES"],
  [{ EVENT_ROUTES: "a.*=nowhere" }, "EVENT_ROUTES"],
  [{ EVENT_ROUTES: "a.*=trips=users" }, "EVENT_ROUTES"],
  [{ NOTIFY_ROUTES: "A_*=nowhere" }, "NOTIFY_ROUTES"],
  [{ PUSH_POLICY: "always" }, "PUSH_POLICY"],
  [{ PUSH_POLICY: "A=sometimes" }, "PUSH_POLICY"],
  [{ PUSH_POLICY: "A B=always" }, "PUSH_POLICY"],
  [{ MIGRATE: "constructor" }, "MIGRATE"],
])("%j is refused by the name %s", (env, name) => {
  expect(Object.keys(faultsOf({ ...OFF, ...env }))).toEqual([name]);
});

test("the default routes of events and notifications keep to the namespaces that there are", () => {
  const { eventRoutes, push } = loadSettings({ ...OFF, NAMESPACES: "trips" });

  expect(eventRoutes).toEqual([{ pattern: "trip.*", namespaces: ["trips"] }]);
  expect(push.notifyRoutes).toEqual([{ pattern: "TRIP_*|VEHICLE_*", namespaces: ["trips"] }]);
});

test("PUSH_POLICY keeps its rules in order, with room for spaces", () => {
  expect(loadSettings({ ...OFF, PUSH_POLICY: " TRIP_*|A = always ; *=user-not-foreground" }).push.policy).toEqual([
    { pattern: "TRIP_*|A", when: "always" },
    { pattern: "*", when: "user-not-foreground" },
  ]);
});

test("EVENT_ROUTES, PG_CHANNELS, ROLES and origins are lists with room for spaces", () => {
  const settings = loadSettings({
    ...OFF,
    EVENT_ROUTES: " ride.* = trips ; ",
    PG_CHANNELS: " a , b,a",
    ROLES: "Gateway",
    CORS_ORIGINS: "https://A.example:443, http://b.example:8080/",
    TRUST_PROXY: "loopback, 10.0.0.0/8",
  });

  expect(settings).toMatchObject({
    eventRoutes: [{ pattern: "ride.*", namespaces: ["trips"] }],
    pgChannels: ["a", "b"],
    roles: new Set(["gateway"]),
    trustProxy: "loopback,10.0.0.0/8",
  });
  expect(settings.corsOrigins[1]).toBe("http://b.example:8080");
});

test.each([
  ["off", false],
  ["on", true],
  ["2", 2],
  ["::1", "::1"],
])("TRUST_PROXY=%s is %j", (text, value) => {
  expect(loadSettings({ ...OFF, TRUST_PROXY: text }).trustProxy).toBe(value);
});

test("a secret can come from a file, but not from two places", () => {
  const files: Record<string, string> = { "/run/secrets/jwt": `${SECRET}\n`, "/run/secrets/db": "postgres://u@h/d\n" };
  const read = (path: string) => files[path] ?? "";

  const settings = loadSettings({ JWT_SECRET_FILE: "/run/secrets/jwt", DATABASE_URL_FILE: "/run/secrets/db" }, read);

  expect(settings.auth.jwtSecret).toBe(SECRET);
  expect(settings.postgres).toEqual({ url: "postgres://u@h/d", listenUrl: "postgres://u@h/d", migrate: true });
  expect(Object.keys(faultsOf({ JWT_SECRET: SECRET, JWT_SECRET_FILE: "/x" }))).toEqual(["JWT_SECRET_FILE"]);
  expect(Object.keys(faultsOf({ JWT_SECRET_FILE: "/nowhere" }))).toEqual(["JWT_SECRET_FILE"]);
});

test("a name one slip away from a setting is warned about, and strangers are not", () => {
  const { warnings } = loadSettings({
    ...OFF,
    REDIS_URI: "redis://u:hunter2@x",
    CARILLON_PORT: "1",
    CARILLON_COLOUR: "red",
    DATABASE_ULR: "x",
    HOSTNAME: "h",
    PATH: "/bin",
    HOME: "/root",
  });

  expect(warnings).toHaveLength(4);
  expect(warnings.join("\n")).toMatch(
    /REDIS_URI .* REDIS_URL\?\nCARILLON_PORT .* PORT\?\nCARILLON_COLOUR .*\nDATABASE_ULR .* DATABASE_URL\?/,
  );
  expect(warnings.join()).not.toContain("hunter2");
});

test("a short JWT_SECRET starts with a warning", () => {
  expect(loadSettings({ JWT_SECRET: "short" }).warnings).toEqual([expect.stringContaining("JWT_SECRET")]);
});

test("docs/configuration.md is current and has every setting once", () => {
  const names = Object.values(GROUPS).flat();

  expect([...names].sort()).toEqual(Object.keys(SCHEMA).sort());
  expect(readFileSync(CONFIGURATION_DOC, "utf8")).toBe(configurationDoc());
});
