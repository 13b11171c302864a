/** Set-ups of real servers, each broken in one way: the doctor has to find that and say what to do about it. */
import {
  freePort,
  type NodeServer,
  type PostgresServer,
  type RedisServer,
  startNginx,
  startNode,
  startPgBouncer,
  startPostgres,
  startRedis,
  waitFor,
} from "@carillon/testkit";
import { afterAll, beforeAll, expect, onTestFinished, test } from "vitest";
import type { Finding } from "../src/doctor/finding.ts";
import { carillon } from "./support.ts";

const JWT_SECRET = "a secret of more than thirty-two characters";
const API_KEYS = "app:the-secret";
/** Names nodes to nginx. */
const ROUTES = ["n0", "n1"];

let redis: RedisServer;
let postgres: PostgresServer;
let nodes: NodeServer[];
/** The settings of the nodes. */
let env: Record<string, string>;

beforeAll(async () => {
  [redis, postgres] = await Promise.all([startRedis({ appendonly: "everysec" }), startPostgres({ fsync: true })]);
  env = { REDIS_URL: redis.url, DATABASE_URL: postgres.url, JWT_SECRET, API_KEYS };
  nodes = await Promise.all(
    ROUTES.map((route) => startNode({ ...env, AUTH: "on", STICKY_ROUTE: route, PING_INTERVAL_MS: "3000" })),
  );
});

afterAll(async () => {
  await Promise.all(nodes?.map((node) => node.stop()) ?? []);
  await Promise.all([redis?.stop(), postgres?.stop()]);
});

test("a deployment that is set up well has no problem and no warning", async () => {
  const url = await balancer({});

  const { code, findings } = await doctor(["--node", nodes[0]!.url, "--node", nodes[1]!.url, "--wait"], {
    ...env,
    CARILLON_URL: url,
  });

  expect(findings.filter(({ status }) => status !== "ok" && status !== "skipped")).toEqual([]);
  expect(code).toBe(0);
  const checks = findings.filter(({ status }) => status === "ok").map(({ check }) => check);
  expect(checks).toEqual(
    expect.arrayContaining([
      "settings",
      "redis",
      "redis.persistence",
      "redis.bus",
      "postgres",
      "node.ready",
      "front.sticky",
      "front.websocket",
      "front.events",
      "front.timeouts",
      "publication",
    ]),
  );
});

/** Found in a set-up that is broken in this one way: nothing else is called a problem, and each is told with what to do. */
interface Expected {
  readonly check: string;
  readonly what: RegExp;
  readonly fix: RegExp;
  readonly status?: "warning";
}

/** The nodes are well; what the doctor is told of Redis or Postgres is not. */
async function expectFound(settings: Record<string, string>, expected: Expected): Promise<void> {
  const result = await doctor(["--url", nodes[0]!.url], { ...env, ...settings });
  expectOnly(result, expected);
}

function expectOnly({ code, findings }: Awaited<ReturnType<typeof doctor>>, expected: Expected): void {
  const { check, what, fix, status = "problem" } = expected;
  const found = findings.filter((finding) => finding.status === "problem" || finding.status === "warning");
  expect(found).toEqual([
    expect.objectContaining({ check, status, what: expect.stringMatching(what), fix: expect.stringMatching(fix) }),
  ]);
  expect(code).toBe(status === "problem" ? 1 : 0);
}

test("Redis that refuses the password", async () => {
  const other = await startedRedis({ password: "right", appendonly: "everysec" });

  await expectFound(
    { REDIS_URL: `redis://:wrong-password@127.0.0.1:${other.port}` },
    { check: "redis", what: /refuses the user name or the password/, fix: /Set user and password in REDIS_URL/ },
  );
});

test("Redis that is not there", async () => {
  const port = await freePort();

  await expectFound(
    { REDIS_URL: `redis://127.0.0.1:${port}` },
    {
      check: "redis",
      what: new RegExp(`127.0.0.1:${port} can't be asked: .*ECONNREFUSED`),
      fix: /start it, or correct REDIS_URL/,
    },
  );
});

test("Redis that evicts keys when it is full", async () => {
  const args = ["--maxmemory", "100mb", "--maxmemory-policy", "allkeys-lru"];
  const other = await startedRedis({ appendonly: "everysec", args });

  await expectFound(
    { REDIS_URL: other.url },
    { check: "redis", status: "warning", what: /evicts keys.*allkeys-lru/, fix: /maxmemory-policy noeviction/ },
  );
});

test("Redis that keeps nothing on disk", async () => {
  const other = await startedRedis({ appendonly: "no" });

  await expectFound(
    { REDIS_URL: other.url },
    { check: "redis.persistence", status: "warning", what: /keeps nothing on disk/, fix: /appendonly yes/ },
  );
});

test("Redis whose user lacks a right", async () => {
  const other = await startedRedis({ appendonly: "everysec" });
  const admin = other.client();
  onTestFinished(() => admin.disconnect());
  await admin.call("ACL", "SETUSER", "app", "on", ">p", "~*", "&*", "+@all", "-xadd");

  await expectFound(
    { REDIS_URL: `redis://app:p@127.0.0.1:${other.port}` },
    { check: "redis", what: /lacks a right \(XADD/, fix: /ACL SETUSER <user> \+xadd/ },
  );
});

test("Postgres that is not there", async () => {
  const port = await freePort();

  await expectFound(
    { DATABASE_URL: `postgres://app:the-password@127.0.0.1:${port}/app` },
    {
      check: "postgres",
      what: new RegExp(`127.0.0.1:${port} can't be asked: .*ECONNREFUSED`),
      fix: /start it, or correct DATABASE_URL/,
    },
  );
});

test("Postgres whose role may not read the outbox", async () => {
  await postgres.query("create role stranger login");
  const url = new URL(postgres.url);
  url.username = "stranger";

  await expectFound(
    { DATABASE_URL: url.href, MIGRATE: "off" },
    {
      check: "postgres",
      what: /permission denied for schema carillon/,
      fix: /grant this role what infra.postgres.roles\.sql names/,
    },
  );
});

test("Postgres whose role may not make the schema", async () => {
  const url = new URL(await postgres.createDatabase());
  await postgres.query("create role newcomer login");
  url.username = "newcomer";

  await expectFound(
    { DATABASE_URL: url.href },
    {
      check: "postgres",
      what: /newcomer may not create Carillon's schema/,
      fix: /grant create on database .* to newcomer/,
    },
  );
});

test("Postgres behind a pooler in transaction mode", async () => {
  const pooler = await startPgBouncer(postgres, "transaction");
  onTestFinished(() => pooler.stop());

  await expectFound(
    { DATABASE_URL: pooler.url },
    { check: "postgres", what: /pooler in transaction mode/, fix: /set DATABASE_LISTEN_URL/ },
  );
});

test("Postgres without Carillon's schema, and nobody who would make it", async () => {
  await expectFound(
    { DATABASE_URL: await postgres.createDatabase(), MIGRATE: "off" },
    { check: "postgres", what: /schema is not in this database/, fix: /start once with MIGRATE=on/ },
  );
});

test("Postgres that may lose what it committed", async () => {
  const careless = await startPostgres({ fsync: false });
  onTestFinished(() => careless.stop());

  await expectFound(
    { DATABASE_URL: careless.url },
    { check: "postgres.fsync", status: "warning", what: /fsync is off/, fix: /set fsync = on/ },
  );
});

test("settings that no node would start with", async () => {
  await expectFound(
    { REDIS_URL: "http://127.0.0.1:6379" },
    { check: "settings", what: /REDIS_URL must/, fix: /correct REDIS_URL/ },
  );
});

test("nginx without stickiness", async () => {
  expectOnly(await doctor(["--url", await balancer({ sticky: false })]), {
    check: "front.sticky",
    what: /[1-8] of 8 sessions reached a node that does not have them/,
    fix: /STICKY_ROUTE=auto .*sticky route/,
  });
});

test("nginx that sticks by a cookie alone", async () => {
  expectOnly(await doctor(["--url", await balancer({ sticky: "cookie" })]), {
    check: "front.sticky",
    status: "warning",
    what: /sticks for browsers alone/,
    fix: /route by the session id/,
  });
});

test("nginx that does not pass the upgrade to WebSocket on", async () => {
  expectOnly(await doctor(["--url", await balancer({ upgrades: false })]), {
    check: "front.websocket",
    what: /upgrade to WebSocket is refused \(400\)/,
    fix: /proxy_set_header Upgrade/,
  });
});

test("nginx that does not pass /ws on", async () => {
  expectOnly(await doctor(["--url", await balancer({ more: "location = /ws { return 404; }" })]), {
    check: "front.websocket",
    what: /\/ws answers 404/,
    fix: /pass \/ws to the nodes/,
  });
});

test("nginx that buffers server-sent events", async () => {
  const more =
    "location = /events { proxy_pass http://all; proxy_buffering on; proxy_ignore_headers X-Accel-Buffering; proxy_http_version 1.1; }";

  expectOnly(await doctor(["--url", await balancer({ more })]), {
    check: "front.events",
    what: /server-sent events do not arrive/,
    fix: /proxy_buffering off/,
  });
});

test("nginx that has less patience than the heartbeat", async () => {
  expectOnly(await doctor(["--url", await balancer({ readTimeout: "1s" }), "--wait"]), {
    check: "front.timeouts",
    what: /cut after 1 s, before its heartbeat after 3 s/,
    fix: /proxy_read_timeout/,
  });
});

test("a URL that names something else", async () => {
  const nginx = await startNginx((port) => `server { listen 127.0.0.1:${port}; location / { return 404; } }`);
  onTestFinished(() => nginx.stop());

  expectOnly(await doctor(["--url", nginx.url]), {
    check: "node",
    what: /answers \/healthz with 404/,
    fix: /names something else than a node/,
  });
});

test("an API key that the nodes don't know", async () => {
  const result = await doctor(["--url", nodes[0]!.url, "--key", "not-the-secret"]);

  expectOnly(result, { check: "publish", what: /401 UNAUTHENTICATED/, fix: /secret of one of the node's API_KEYS/ });
  expect(result.out).not.toContain("not-the-secret");
});

test("a token that the nodes can't verify", async () => {
  const forged = (
    await carillon(["token"], { env: { JWT_SECRET: "another secret of thirty-two characters" } })
  ).out.trim();

  const result = await doctor(["--url", nodes[0]!.url, "--token", forged]);

  expectOnly(result, { check: "subscribe", what: /UNAUTHENTICATED/, fix: /the same JWT_SECRET/ });
});

test("a node that drains", async () => {
  const node = await startNode({ ...env, AUTH: "on", DRAIN_DELAY_S: "60", DRAIN_TIMEOUT_S: "60" });
  onTestFinished(async () => void (await node.kill()));
  process.kill(node.pid, "SIGTERM");
  await waitFor(async () => (await node.readyz()).status === 503, { what: "the node to drain" });

  const { code, findings } = await doctor(["--url", nodes[0]!.url, "--node", node.url]);

  expectOnly(
    { code, findings, out: "" },
    { check: "node.ready.node", what: /not ready: node: draining/, fix: /send it no traffic/ },
  );
});

test("a node that does not hear its bus", async () => {
  const other = await startedRedis({ appendonly: "everysec" });
  const node = await startNode({ ...env, AUTH: "on", REDIS_URL: other.url });
  onTestFinished(async () => void (await node.kill()));
  await other.kill();
  await waitFor(async () => (await node.readyz()).status === 503, { what: "the node to notice", timeoutMs: 30_000 });

  const { code, findings } = await doctor(["--url", nodes[0]!.url, "--node", node.url]);

  expectOnly(
    { code, findings, out: "" },
    { check: "node.ready.bus", what: /not ready: bus/, fix: /what is said of Redis/ },
  );
});

test("nodes that do not share a bus", async () => {
  const loner = await startNode({ ...env, AUTH: "on", REDIS_URL: "", STICKY_ROUTE: "n1" });
  onTestFinished(async () => void (await loner.stop()));

  // WebSockets go to the two nodes in turn: of three clients, one at least is elsewhere than the publication.
  const result = await doctor(["--url", await balancer({ to: [nodes[0]!, loner] })]);

  expectOnly(result, {
    check: "publication",
    what: /did not reach every client/,
    fix: /nodes that don't share one Redis and REDIS_PREFIX/,
  });
});

test("findings can be read by people, and warnings can fail a build", async () => {
  const other = await startedRedis({ appendonly: "no" });
  const settings = { ...env, REDIS_URL: other.url };

  const { code, out } = await carillon(["doctor", "--url", nodes[0]!.url, "--strict"], { env: settings });

  expect(code).toBe(1);
  expect(out).toMatch(
    /^warning {2}Redis keeps nothing on disk.*\n {9}fix: .*appendonly yes.*\n {9}see: docs\/deployment.md#redis$/m,
  );
  expect(out).toMatch(/\n0 problems, 1 warning, \d+ ok, \d+ skipped\n$/);
});

async function startedRedis(options: Parameters<typeof startRedis>[0]): Promise<RedisServer> {
  const server = await startRedis(options);
  onTestFinished(() => server.stop());
  return server;
}

/** What nginx is told, beside which node a request goes to. */
interface Balancer {
  readonly sticky?: boolean | "cookie";
  readonly upgrades?: boolean;
  readonly readTimeout?: string;
  readonly more?: string;
  readonly to?: readonly NodeServer[];
}

async function balancer({
  sticky = true,
  upgrades = true,
  readTimeout = "1h",
  more = "",
  to = nodes,
}: Balancer): Promise<string> {
  const server = (node: NodeServer) => `server 127.0.0.1:${node.port} max_fails=0;`;
  const nginx = await startNginx(
    (port) => `
      map $http_upgrade $connection_upgrade { default upgrade; "" ""; }
      map $cookie_n $known { "" $request_id; default $cookie_n; }
      map $arg_sid $pool { default all; ${sticky === true ? ROUTES.map((route) => `"~^${route}\\." ${route};`).join(" ") : ""} }
      map $http_upgrade $target { default sockets; "" $pool; }
      upstream sockets { ${to.map(server).join(" ")} }
      upstream all { ${sticky === "cookie" ? "hash $known;" : ""} ${to.map(server).join(" ")} }
      ${to.map((node, index) => `upstream ${ROUTES[index]} { ${server(node)} }`).join("\n")}
      server {
        listen 127.0.0.1:${port};
        ${more}
        location / {
          proxy_pass http://$target;
          proxy_http_version 1.1;
          proxy_set_header Host $http_host;
          ${upgrades ? "proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection $connection_upgrade;" : ""}
          ${sticky === "cookie" ? "add_header Set-Cookie n=$known always;" : ""}
          proxy_buffering off;
          proxy_read_timeout ${readTimeout};
        }
      }`,
  );
  onTestFinished(() => nginx.stop());
  return nginx.url;
}

async function doctor(args: readonly string[], settings: Record<string, string> = env) {
  const { code, out } = await carillon(["doctor", "--json", ...args], { env: settings });
  const findings = out
    .split("\n")
    .filter((line) => line !== "")
    .map((line) => JSON.parse(line) as Finding);
  return { code, out, findings };
}
