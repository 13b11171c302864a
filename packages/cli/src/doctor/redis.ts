import type { RedisFacts } from "@carillon/redis";
import type { Settings } from "@carillon/server";
import { reasonOf } from "../failure.ts";
import { DOCS, type Finding, ok, problem, skipped, warning } from "./finding.ts";

const FULL = 0.8;

/** Redis, as the nodes with these settings use it. */
export async function checkRedis(settings: Settings): Promise<readonly Finding[]> {
  const { redis } = settings;
  if (redis === undefined) {
    return [skipped("redis", "there is no Redis: nodes don't hear each other", "set REDIS_URL for more than one node")];
  }
  const [{ connectRedis }, server] = await Promise.all([import("@carillon/redis"), import("@carillon/server")]);
  const connections = connectRedis({ ...server.redisConnectOptions(redis), prefix: settings.redisPrefix });
  const where = redis.addresses.map(({ host, port }) => `${host}:${port}`).join(", ");
  try {
    const problems = await connections.probe(server.redisProbeOptions(settings));
    const found = problems.map(({ what, fix, fatal }) =>
      (fatal ? problem : warning)("redis", what, { fix, docs: DOCS.redis }),
    );
    if (found.some(({ status }) => status === "problem")) return [...found, ...encryption(settings)];
    const facts = await connections.inspect();
    return [
      ok(
        "redis",
        `Redis ${facts.version ?? "of an unknown version"} at ${where}: reachable, and it grants every right`,
      ),
      ...found,
      ...encryption(settings),
      ...persistence(facts),
      ...memory(facts),
      ok("redis.bus", `a message comes back through Redis after ${facts.roundTripMs.toFixed(1)} ms`),
    ];
  } catch (error) {
    return [unreachable(where, error)];
  } finally {
    connections.close();
  }
}

function unreachable(where: string, error: unknown): Finding {
  const cause = error instanceof Error && error.cause !== undefined ? error.cause : error;
  return problem("redis", `Redis at ${where} can't be asked: ${reasonOf(cause)}`, {
    fix: "start it, or correct REDIS_URL (rediss:// where it speaks TLS; own authorities in NODE_EXTRA_CA_CERTS) and what is in between",
    docs: DOCS.redis,
  });
}

function encryption({ redis }: Settings): Finding[] {
  if (redis === undefined || redis.tls) return [ok("redis.tls", "the connection is encrypted")];
  if (redis.addresses.every(({ host }) => isNear(host))) return [];
  return [
    warning("redis.tls", "the connection to Redis is not encrypted, and Redis is not on a private address", {
      fix: "use rediss:// in REDIS_URL, or REDIS_TLS=on",
      docs: DOCS.redis,
    }),
  ];
}

/** A name without a dot is one of the same network. */
function isNear(host: string): boolean {
  return !host.includes(".") || /^(127\.|10\.|192\.168\.|172\.(1[6-9]|2\d|3[01])\.)|\.(local|internal|svc)$/.test(host);
}

function persistence({ appendFsync, snapshots, persistenceFailed }: RedisFacts): Finding[] {
  const check = "redis.persistence";
  if (persistenceFailed) {
    return [
      problem(
        check,
        "Redis could not write its data to disk the last time it tried: it refuses publications, or will",
        {
          fix: "make room on its disk and look into its log",
          docs: DOCS.redis,
        },
      ),
    ];
  }
  switch (appendFsync) {
    case "always":
      return [ok(check, "every write is on disk before it is acknowledged (appendfsync always)")];
    case "everysec":
      return [ok(check, "writes are on disk within a second (appendfsync everysec); a lost second is told as a gap")];
    case "no":
    case "off":
      return [
        warning(
          check,
          appendFsync === "off" && snapshots !== true
            ? "Redis keeps nothing on disk: its restart forgets what was accepted, sessions and revocations too"
            : "Redis writes to disk only now and then: its crash forgets minutes of what was accepted, revocations too",
          { fix: "set appendonly yes and appendfsync everysec (or always) in Redis", docs: DOCS.redis },
        ),
      ];
    default:
      return [
        skipped(check, "Redis does not say how it keeps its data", "let its user run CONFIG GET, or ask who runs it"),
      ];
  }
}

function memory({ usedBytes, maxBytes }: RedisFacts): Finding[] {
  if (usedBytes === undefined || maxBytes === undefined || maxBytes === 0) return [];
  const part = usedBytes / maxBytes;
  const what = `Redis uses ${Math.round(100 * part)} % of its maxmemory`;
  if (part < FULL) return [ok("redis.memory", what)];
  return [
    warning("redis.memory", `${what}; at 100 % it refuses publications`, {
      fix: "raise maxmemory, or lower LOG_MAX_ENTRIES or LOG_RETENTION_S",
      docs: DOCS.redis,
    }),
  ];
}
