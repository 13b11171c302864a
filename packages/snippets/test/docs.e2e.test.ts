/** Every marked block of the pages for clients and publishers, run as it stands there against a real node with Redis and Postgres. */
import { createHmac } from "node:crypto";
import {
  api,
  type Client,
  connect,
  type NodeServer,
  type PostgresServer,
  queryAt,
  type RedisServer,
  Service,
  startNode,
  startPostgres,
  startRedis,
  waitFor,
} from "@carillon/testkit";
import { afterAll, beforeAll, expect, onTestFinished, type TestContext, test } from "vitest";
import { type Snippet, snippets, snippetsIn } from "./snippets.ts";
import { type Program, WAYS } from "./ways.ts";

const SECRET = "a-secret-of-the-snippets-with-32-characters";
const KEY = "snippets-secret";
const CHANNELS = ["chat", "orders"];
const PATIENCE_MS = 60_000;

let redis: RedisServer | undefined;
let postgres: PostgresServer | undefined;
let node: NodeServer | undefined;
let env: Record<string, string>;

beforeAll(async () => {
  [redis, postgres] = await Promise.all([startRedis(), startPostgres()]);
  node = await startNode({
    AUTH: "on",
    JWT_SECRET: SECRET,
    API_KEYS: `backend:${KEY}`,
    REDIS_URL: redis.url,
    DATABASE_URL: postgres.url,
  });
  await waitFor(async () => (await node?.readyz())?.body?.status === "ok", { what: "a ready node", timeoutMs: 60_000 });
  const { PATH = "", HOME = "" } = process.env;
  env = {
    PATH,
    HOME,
    CARILLON_URL: node.url,
    CARILLON_TOKEN: token({ sub: "42", channels: ["*"], publish: ["*"], rooms: ["*"] }),
    CARILLON_KEY: KEY,
    REDIS_URL: redis.url,
    DATABASE_URL: postgres.url,
  };
});
afterAll(async () => {
  await node?.stop(3000);
  await Promise.all([redis?.stop(), postgres?.stop()]);
});

function token(claims: object): string {
  const part = (value: object) => Buffer.from(JSON.stringify(value)).toString("base64url");
  const signed = `${part({ alg: "HS256" })}.${part({ ...claims, exp: Math.floor(Date.now() / 1000) + 3600 })}`;
  return `${signed}.${createHmac("sha256", SECRET).update(signed).digest("base64url")}`;
}

test.for(snippets())("$at ($way) $does $text", { timeout: 4 * PATIENCE_MS }, async (snippet, { skip }) => {
  const { does, text } = snippet;
  const listeners = does === "delivers" ? await listen() : [];
  const service = await start(snippet, await prepared(snippet, skip));

  const done = does === "prints" ? printed(service, text) : delivered(service, text, listeners);
  await done.catch((error: Error) => {
    throw new Error(`${error.message}\n${snippet.at} wrote:\n${service.output}`, { cause: error });
  });
});

const inTransactions = snippets().filter(({ at, code }) => at.includes("frameworks") && code.includes("transaction"));
test.for(inTransactions)(
  "what $at ($way) publishes is not heard when its transaction is rolled back",
  async (snippet, { skip }) => {
    const { command, args } = await prepared(snippet, skip);
    const { id: since } = await logged();

    const service = await start(snippet, { command, args: [...args, "--roll-back"] });
    await waitFor(() => !service.running, { what: "its end", timeoutMs: PATIENCE_MS });
    await queryAt(postgres!.url, "select carillon.refresh('trips', 'THE_END')");

    const scopes = async () => (await logged(since)).publications.map(({ scope }: { scope: string }) => scope);
    await waitFor(async () => (await scopes()).includes("THE_END"), { what: "what is published after it" });
    expect(await scopes()).toEqual(["THE_END"]);
    expect(service.output).toBe("the trip is planned");
  },
);

async function prepared({ at, way, code }: Snippet, skip: TestContext["skip"]): Promise<Program> {
  const prepare = WAYS[way];
  if (prepare === undefined) throw new Error(`nobody knows how to run ${way}`);
  const program = await prepare(code, env);
  if (typeof program !== "string") return program;
  console.warn(`${at} is not run: ${program}`);
  return skip(program);
}

async function start({ at }: Snippet, { command, args, env: more }: Program): Promise<Service> {
  const service = new Service({ name: at, command, args: [...args], env: { ...env, ...more }, ready: () => true });
  onTestFinished(async () => void (await service.kill()));
  await service.start();
  return service;
}

async function printed(service: Service, text: string): Promise<void> {
  const isThere = async () => {
    await speak();
    const ended = !service.running;
    if (service.output.includes(text)) return true;
    if (ended) throw new Error("it ended");
    return false;
  };
  await waitFor(isThere, { what: text, timeoutMs: PATIENCE_MS, everyMs: 250, final: true });
}

async function delivered(service: Service, text: string, listeners: readonly Client[]): Promise<void> {
  await waitFor(() => !service.running, { what: "its end", timeoutMs: PATIENCE_MS });
  expect(await service.exited).toEqual({ code: 0, signal: null });
  const heard = () => JSON.stringify(listeners.flatMap(({ events }) => events));
  await waitFor(() => heard().includes(text), { what: `a client to hear ${text}` });
}

test("a block says what it does or why it isn't run, and its line is the page's", () => {
  const mark = "<!-- run with websocat: prints X -->";
  const page = `# A page\n\n${mark}\n\`\`\`sh\necho X\n\`\`\`\n`;

  expect(snippetsIn("page.md", page)).toEqual([
    { at: "page.md:4", way: "sh with websocat", code: "echo X\n", does: "prints", text: "X" },
  ]);
  expect(snippetsIn("page.md", page.replace(mark, "<!-- not run: it's late -->"))).toEqual([]);
  for (const unclear of ["<!-- run: print X -->", "<!-- not run -->", `${mark}\n`, ""])
    expect(() => snippetsIn("page.md", page.replace(mark, unclear))).toThrow(/page\.md:\d/);
});

async function listen(): Promise<Client[]> {
  const auth = { token: env.CARILLON_TOKEN };
  const clients = ["/trips", "/channels"].map((namespace) => connect(env.CARILLON_URL!, namespace, { auth }));
  onTestFinished(() => {
    for (const client of clients) client.close();
  });
  await Promise.all(clients.map(({ ready }) => ready));
  for (const channel of CHANNELS) expect(await clients[1]?.ask("subscribe", { channel })).toMatchObject({ ok: true });
  return clients;
}

async function logged(since?: string) {
  const query = new URLSearchParams({ limit: "1000", ...(since !== undefined && { since }) });
  const headers = { authorization: `Bearer ${env.CARILLON_TOKEN}` };
  return (await api(env.CARILLON_URL!).get(`/api/channels/trips/publications?${query}`, headers)).body;
}

async function speak(): Promise<void> {
  const headers = { authorization: `Bearer ${KEY}` };
  await api(env.CARILLON_URL!).post("/api/refresh/trips", { scope: "TRIP_APPROVED" }, headers);
  await api(env.CARILLON_URL!).post("/api/notifications/chat", { text: "hello" }, headers);
}
