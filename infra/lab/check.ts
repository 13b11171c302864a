/**
 * What `docker compose up --scale api=3` promises, tried through nginx with stock clients of every kind, while nodes come, go, die
 * and are replaced. `check.sh` has started it. Every client hears all channels, so that its ids must have no hole.
 */
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { randomUUID } from "node:crypto";
import { createServer, request } from "node:http";
import { type AddressInfo, connect as openSocket } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import { promisify } from "node:util";
import { type Api, api, type Client, type ConnectOptions, connect, waitFor } from "../../packages/testkit/src/index.ts";

const run = promisify(execFile);
const CHANNELS = ["chat", "orders", "trips"];
const CLIENTS_OF_A_KIND = 5;
const kinds: Record<string, ConnectOptions> = {
  "polling without cookies": { transports: ["polling"] },
  "polling with cookies": { transports: ["polling"], withCredentials: true },
  "websocket only": { transports: ["websocket"] },
  "polling, then websocket": {},
};

class Listener {
  readonly kind: string;
  readonly client: Client;
  /** How often it was cut off. */
  cuts = 0;

  constructor(url: string, kind: string) {
    this.kind = kind;
    this.client = connect(url, "/channels", { ...kinds[kind], reconnectionDelay: 200, reconnectionDelayMax: 1000 });
    this.client.socket.on("disconnect", () => this.cuts++);
  }

  async subscribe(): Promise<void> {
    await this.client.ready;
    for (const channel of CHANNELS) assert.equal((await this.client.ask("subscribe", { channel })).ok, true);
  }

  get node(): string {
    return this.client.events.findLast(({ event }) => event === "ready")?.args[0].node;
  }

  get ids(): string[] {
    const heard = this.client.events.filter(({ event }) => ["notification", "refresh", "gap"].includes(event));
    const ids = heard.map(({ args }): string => args.at(-1));
    return ids.slice(ids.indexOf(first));
  }
}

/** Publications by REST all along. What wasn't answered is asked again with the same key, as a publisher should. */
class Traffic {
  readonly ids: string[] = [];
  repeated = 0;
  readonly #api: Api;
  #stopped = false;
  readonly #done: Promise<void>;

  constructor(url: string) {
    this.#api = api(url);
    this.#done = this.#publish();
  }

  async #publish(): Promise<void> {
    for (let n = 0; !this.#stopped; n++) {
      this.ids.push(await publish(this.#api, n, () => this.repeated++));
      await sleep(20);
    }
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    await this.#done;
  }
}

const began = performance.now();
const since = new Date().toISOString();
const url = `http://${await compose("port", "nginx", "8080")}`;
const listeners = Object.keys(kinds).flatMap((kind) =>
  Array.from({ length: CLIENTS_OF_A_KIND }, () => new Listener(url, kind)),
);
/** From here on every client hears the same. */
let first = "";
let traffic: Traffic | undefined;
try {
  await Promise.all(listeners.map((listener) => listener.subscribe()));
  first = await publish(api(url), -1);
  await everyIngress();
  await sticking();
  await behindAnotherProxy();
  traffic = new Traffic(url);
  await scaling();
  await aDeath();
  await anotherImage();
  await traffic.stop();
  await nothingLost(traffic);
  await edges();
  await logs();
  await stopping();
} finally {
  await traffic?.stop();
  for (const { client } of listeners) client.close();
}
console.log(`compose: all as promised, in ${Math.round((performance.now() - began) / 1000)} s`);

async function everyIngress(): Promise<void> {
  const before = (await agreed()).length;
  const http = api(url);
  const answers = await Promise.all([
    http.post("/api/notifications/chat", { hello: "REST" }),
    http.post("/api/refresh/trips", { scope: "REST", payload: 1 }),
  ]);
  assert.deepEqual(
    answers.map(({ status }) => status),
    [202, 202],
  );
  await compose("exec", "-T", "redis", "redis-cli", "publish", "refresh.trips", '{"scope":"REDIS","payload":1}');
  await sql("insert into orders (customer) select 'Ada' from generate_series(1, 3)");

  await waitFor(async () => listeners.every(({ ids }) => ids.length >= before + 6), {
    what: "all six publications at every client",
    timeoutMs: 15_000,
  });
  assert.equal((await agreed()).length, before + 7); // with its own last one
  said("REST, Redis and inserts into orders reach every client once");
}

async function sticking(): Promise<void> {
  await Promise.all(Array.from({ length: 50 }, (_, n) => publish(api(url), n)));
  await agreed();
  for (const { kind, cuts } of listeners) assert.equal(cuts, 0, `${kind} was cut off`);
  assert.equal(new Set(listeners.map(({ node }) => node)).size, 3, "clients are not spread over the nodes");
  const requests = (await access()).filter(({ path }) => path === "/socket.io/");
  assert(requests.length > 100, "the access log is not what this reads");
  const lost = requests.filter(({ status }) => status >= 400);
  assert.equal(lost.length, 0, `a request went to a node that does not know its session: ${JSON.stringify(lost[0])}`);
  said("clients stick to their node, with and without cookies, and are spread over all three");
}

/** Corporate networks have proxies that speak no WebSocket. */
async function behindAnotherProxy(): Promise<void> {
  const outer = createServer(({ method, url: path, headers: { upgrade: _, ...headers } }, answer) => {
    const inner = request(new URL(path ?? "", url), {
      method: method ?? "GET",
      headers: { ...headers, connection: "close" },
    });
    inner.on("response", (from) => from.pipe(answer.writeHead(from.statusCode ?? 502, from.headers)));
    inner.on("error", () => answer.destroy());
    answer.req.pipe(inner);
  });
  await new Promise<void>((resolve) => outer.listen(0, "127.0.0.1", resolve));
  const address = `http://127.0.0.1:${(outer.address() as AddressInfo).port}`;
  const polling = connect(address, "/channels");
  const websocket = connect(address, "/channels", { transports: ["websocket"], reconnection: false });
  const failed = new Promise((resolve) => websocket.socket.once("connect_error", resolve));
  try {
    await polling.ready;
    await polling.ask("subscribe", { channel: "chat" });
    await Promise.race([failed, sleep(5000).then(() => assert.fail("a websocket-only client was left to wait"))]);
    const id = await publish(api(url), 0);
    await polling.next("notification", (...args) => args.at(-1) === id, 5000);
    assert.equal(polling.socket.io.engine.transport.name, "polling");
  } finally {
    polling.close();
    websocket.close();
    outer.closeAllConnections();
    outer.close();
  }
  said("behind a proxy without WebSocket clients poll, and websocket-only ones are told at once");
}

async function scaling(): Promise<void> {
  await scale(5);
  await reaches(5);
  await agreed();
  await scale(2);
  await reaches(2);
  await agreed();
  said("3 to 5 to 2 nodes: new ones get clients, the clients of old ones move, nginx runs on");
}

async function aDeath(): Promise<void> {
  const [victim = ""] = await nodes();
  await run("docker", ["kill", victim]);
  await agreed();
  await scale(3);
  await reaches(3);
  said("a node was killed: its clients went on elsewhere");
}

async function anotherImage(): Promise<void> {
  const old = await nodes();
  const image = `${process.env.CARILLON_IMAGE}-next`;
  await run("docker", ["tag", process.env.CARILLON_IMAGE ?? "", image]);
  await run("infra/docker/roll.sh", { env: { ...process.env, CARILLON_IMAGE: image } });
  process.env.CARILLON_IMAGE = image;
  const now = await nodes();
  assert.equal(now.length, 3);
  assert.deepEqual(
    now.filter((node) => old.includes(node)),
    [],
    "an old node is still there",
  );
  await agreed();
  said("all nodes were replaced");
}

/** Every client has heard the same ids in the same order, without a hole, and what was published up to now among them. */
async function agreed(): Promise<string[]> {
  const last = await publish(api(url), -1);
  await waitFor(() => listeners.every(({ ids }) => ids.includes(last)), {
    what: `${last} at every client`,
    timeoutMs: 20_000,
  }).catch((error) => {
    const without = listeners
      .filter(({ ids }) => !ids.includes(last))
      .map(({ kind, ids, client }) => `${kind}: ${client.socket.connected}, ${ids.at(-1)}`);
    throw new Error(`${error.message}; without it:\n${without.join("\n")}`);
  });
  const from = Number(first.split("-")[1]);
  const expected = Array.from(
    { length: Number(last.split("-")[1]) - from + 1 },
    (_, n) => `${first.split("-")[0]}-${from + n}`,
  );
  for (const { kind, client, ids } of listeners) {
    const gaps = client.events.filter(({ event }) => event === "gap");
    assert.deepEqual(gaps, [], `${kind} was told of a gap though Redis was always there and another node heard all`);
    assert.deepEqual(
      ids.slice(0, ids.indexOf(last) + 1),
      expected,
      `${kind} heard ids with a hole, a double or in a wrong order`,
    );
  }
  return expected;
}

async function nothingLost({ ids, repeated }: Traffic): Promise<void> {
  const heard = new Set(await agreed());
  assert.deepEqual(
    ids.filter((id) => !heard.has(id)),
    [],
    "publications were accepted and lost",
  );
  const cuts = listeners.reduce((sum, listener) => sum + listener.cuts, 0);
  said(
    `${ids.length} publications accepted meanwhile (${repeated} asked for again), each once and in order at ${listeners.length} clients, which were cut off ${cuts} times`,
  );
}

async function edges(): Promise<void> {
  const http = api(url);
  for (const path of ["/metrics", "/readyz", "/%6Detrics", "/metrics/"])
    isProblem(await http.get(path), 404, "NOT_FOUND");
  isProblem(
    await http.raw("POST", "/api/notifications/chat", "x".repeat(5_000_000), { "content-type": "application/json" }),
    413,
    "PAYLOAD_TOO_LARGE",
  );
  const sid = `${"0".repeat(32)}.abc`; // no node's name: any node answers
  assert.equal((await http.get(`/socket.io/?EIO=4&transport=polling&sid=${sid}`)).status, 400);

  const answers = await Promise.all(Array.from({ length: 10 }, () => flood(url, 900)));
  assert(
    answers.some((text) => text.includes("HTTP/1.1 429")),
    "a flood from one address is not limited",
  );
  await waitFor(async () => (await http.get("/healthz")).status === 200, { what: "the limit to be over" });
  said("hidden paths, sizes and floods are answered with problem documents");
}

/** Requests in one go, as fast as they are taken; each claims another address, and all count as one. */
function flood(to: string, requests: number): Promise<string> {
  const { hostname, port } = new URL(to);
  return new Promise((resolve, reject) => {
    let text = "";
    const socket = openSocket(Number(port), hostname, () => {
      for (let n = 0; n < requests; n++) {
        const last = n === requests - 1 ? "Connection: close\r\n" : "";
        socket.write(`GET /api/none HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 10.0.${n >> 8}.${n & 255}\r\n${last}\r\n`);
      }
    });
    socket.on("data", (data) => {
      text += data;
    });
    socket.on("error", reject).on("close", () => resolve(text));
  });
}

async function logs(): Promise<void> {
  assert.deepEqual(
    (await access()).filter((line) => JSON.stringify(line).includes("sid=")),
    [],
    "the log has queries",
  );
}

async function stopping(): Promise<void> {
  const containers = await nodes();
  const at = performance.now();
  await compose("stop", "api");
  const seconds = (performance.now() - at) / 1000;
  const { stdout } = await run("docker", ["inspect", "-f", "{{.State.ExitCode}}", ...containers]);
  assert.deepEqual(
    stdout.trim().split("\n"),
    containers.map(() => "0"),
    "a node was killed instead of draining",
  );
  const { stdout: text } = await run("docker", ["logs", containers[0] ?? ""]);
  assert(text.includes('"msg":"draining"') && text.includes('"msg":"drained"'));
  isProblem(await api(url).get("/healthz"), 502, "NOT_READY");
  said(`SIGTERM reaches the nodes: drained and gone with exit code 0 in ${seconds.toFixed(1)} s`);
}

function isProblem(answer: Awaited<ReturnType<Api["get"]>>, status: number, code: string): void {
  assert.deepEqual([answer.status, answer.body?.code, answer.body?.status], [status, code, status], answer.text);
  assert.match(answer.headers.get("content-type") ?? "", /^application\/problem\+json/);
}

async function publish(to: Api, n: number, onRepeat = () => {}): Promise<string> {
  const key = randomUUID();
  return waitFor(
    async () => {
      const answer = await to.post("/api/notifications/chat", { n }, { "idempotency-key": key });
      if (answer.status === 202) return answer.body.id as string;
      onRepeat();
      if (answer.status < 500) throw new Error(answer.text);
      return undefined;
    },
    { what: "a publication to be accepted", timeoutMs: 20_000, everyMs: 100 },
  );
}

/** New clients meet that many nodes, and are never refused for long. */
async function reaches(count: number): Promise<void> {
  const met = new Set<string>();
  await waitFor(
    async () => {
      const client = connect(url, "/channels", { transports: ["websocket"] });
      met.add((await client.ready).args[0].node);
      client.close();
      if (met.size > count) met.clear(); // one that was still draining
      return met.size === count;
    },
    { what: `new clients to meet ${count} nodes`, timeoutMs: 30_000, everyMs: 100 },
  );
}

async function scale(count: number): Promise<void> {
  await compose("up", "--detach", "--wait", "--no-recreate", "--no-deps", "--scale", `api=${count}`, "api");
  assert.equal((await nodes()).length, count);
}

async function nodes(): Promise<string[]> {
  return (await compose("ps", "-q", "--status", "running", "api")).split("\n").filter(Boolean);
}

function sql(text: string): Promise<string> {
  return compose("exec", "-T", "postgres", "psql", "-qAt", "-h", "/run/postgresql", "-U", "carillon", "-c", text);
}

async function access(): Promise<{ path: string; status: number }[]> {
  const { stdout: text } = await run("docker", ["logs", "--since", since, await compose("ps", "-q", "nginx")], {
    maxBuffer: 64 * 1024 * 1024,
  });
  return text
    .split("\n")
    .filter((line) => line.startsWith("{"))
    .map((line) => JSON.parse(line));
}

async function compose(...args: string[]): Promise<string> {
  const { stdout } = await run("docker", ["compose", ...args], { maxBuffer: 64 * 1024 * 1024 });
  return stdout.trim();
}

function said(what: string): void {
  console.log(`ok  ${what} (${Math.round((performance.now() - began) / 1000)} s)`);
}
