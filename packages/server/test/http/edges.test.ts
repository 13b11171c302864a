/** What only a real socket shows: bytes that aren't a request, origins, and a node that closes. */
import { connect } from "node:net";
import { afterEach, expect, test, vi } from "vitest";
import { Health } from "../../src/ops/health.ts";
import { type Fixture, fixture } from "./fakes.ts";

const open: Fixture[] = [];
afterEach(async () => {
  await Promise.all(open.splice(0).map(({ app }) => app.close()));
});

async function listening(f: Fixture): Promise<number> {
  open.push(f);
  await f.app.listen({ port: 0, host: "127.0.0.1" });
  const address = f.app.server.address();
  return typeof address === "object" && address !== null ? address.port : 0;
}

/** Writes raw bytes and gives back all that came until the other side closed. */
function exchange(port: number, bytes: string): Promise<string> {
  return new Promise((resolve, reject) => {
    let text = "";
    const socket = connect(port, "127.0.0.1", () => socket.write(bytes));
    socket.setTimeout(5000, () => socket.destroy(new Error(`no end; so far ${JSON.stringify(text)}`)));
    socket.on("data", (data) => {
      text += data.toString("latin1");
    });
    socket.on("close", () => resolve(text));
    socket.on("error", reject);
  });
}

test.each([
  ["nonsense", "hello\r\n\r\n", 400, "BAD_REQUEST"],
  ["TLS bytes", "\u0016\u0003\u0001\u0002\u0000\u0001", 400, "BAD_REQUEST"],
  ["an unknown method", "FOO / HTTP/1.1\r\nHost: x\r\n\r\n", 400, "BAD_REQUEST"],
  ["a bad content length", "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n", 400, "BAD_REQUEST"],
  [
    "two lengths",
    "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
    400,
    "BAD_REQUEST",
  ],
  ["a header with a bare newline", "GET / HTTP/1.1\r\nHost: x\r\nA: b\nc\r\n\r\n", 400, "BAD_REQUEST"],
  [
    "20 KB of headers",
    `GET /healthz HTTP/1.1\r\nHost: x\r\nA: ${"a".repeat(20_000)}\r\n\r\n`,
    431,
    "HEADERS_TOO_LARGE",
  ],
  ["a URL of 20 KB", `GET /${"a".repeat(20_000)} HTTP/1.1\r\nHost: x\r\n\r\n`, 431, "HEADERS_TOO_LARGE"],
  ["bad percent-encoding", "GET /api/%zz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", 400, "BAD_REQUEST"],
  [
    "an odd expectation",
    "GET /healthz HTTP/1.1\r\nHost: x\r\nExpect: miracles\r\nConnection: close\r\n\r\n",
    417,
    "BAD_REQUEST",
  ],
])("%s is answered with a problem document", async (_what, bytes, status, code) => {
  const port = await listening(fixture());

  const text = await exchange(port, bytes);

  const [head = "", body = ""] = text.split("\r\n\r\n");
  expect(head).toMatch(new RegExp(`^HTTP/1.1 ${status} `));
  expect(head.toLowerCase()).toContain("content-type: application/problem+json");
  expect(JSON.parse(body.replace(/^[0-9a-f]+\r\n|\r\n0$/g, ""))).toMatchObject({
    code,
    status,
    requestId: expect.any(String),
  });
});

test("bytes that aren't HTTP are logged once a minute, and the next request is served", async () => {
  const f = fixture();
  const port = await listening(f);
  for (let i = 0; i < 3; i++) await exchange(port, "hello\r\n\r\n");

  expect((await fetch(`http://127.0.0.1:${port}/healthz`)).status).toBe(200);
  expect(f.lines.filter((line) => line.msg === "request refused before it was read")).toHaveLength(1);
});

test("a chunked body beyond the limit is 413 and not read on", async () => {
  const port = await listening(fixture());
  const chunk = "x".repeat(65_536);
  const head =
    "POST /api/notifications/chat HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n";

  const text = await exchange(port, `${head}${`10000\r\n${chunk}\r\n`.repeat(8)}0\r\n\r\n`);

  expect(text).toMatch(/^HTTP\/1.1 413 /);
  expect(text).toContain("PAYLOAD_TOO_LARGE");
});

test.each([
  [["https://app.example"], "https://app.example", 202, "https://app.example"],
  [["https://app.example"], "https://evil.example", 403, undefined],
  [["*"], "https://evil.example", 202, "*"],
  [[], "http://127.0.0.1:80", 403, undefined],
] as const)("with CORS_ORIGINS %j a page of %s gets %d", async (corsOrigins, origin, status, allowed) => {
  const { app } = fixture({ settings: { corsOrigins } });

  const response = await app.inject({
    method: "POST",
    url: "/api/notifications/chat",
    headers: { origin, host: "127.0.0.1:3000", "content-type": "application/json" },
    payload: "1",
  });

  expect(response.statusCode).toBe(status);
  expect(response.headers["access-control-allow-origin"]).toBe(allowed);
});

test("a page of the node itself may call, by name and port", async () => {
  const { app } = fixture();
  const headers = { origin: "http://localhost:3000", host: "localhost:3000", "content-type": "application/json" };

  expect((await app.inject({ method: "POST", url: "/api/notifications/chat", headers, payload: "1" })).statusCode).toBe(
    202,
  );
});

test("a preflight of an allowed origin is answered, and its refusals can be read", async () => {
  const { app } = fixture({ settings: { corsOrigins: ["https://app.example"] } });
  const origin = "https://app.example";

  const preflight = await app.inject({
    method: "OPTIONS",
    url: "/api/notifications/chat",
    headers: { origin, "access-control-request-method": "POST" },
  });
  const refused = await app.inject({ method: "POST", url: "/api/notifications/chat", headers: { origin } });
  const plain = await app.inject({ method: "OPTIONS", url: "/healthz" });

  expect(preflight.statusCode).toBe(204);
  expect(preflight.headers["access-control-allow-methods"]).toContain("POST");
  expect(refused.headers["access-control-allow-origin"]).toBe(origin);
  expect(plain.headers["content-type"] ?? "").not.toContain("html");
});

test("while it closes, a connection that is still open hears DRAINING and is closed", async () => {
  const f = fixture({ health: new Health({ timeoutMs: 5000 }) });
  const { promise: asked, resolve: ask } = Promise.withResolvers<void>();
  const { promise: released, resolve: release } = Promise.withResolvers<void>();
  f.health.add("slow", "degraded", async () => {
    ask();
    await released;
    return { status: "ok" };
  });
  const port = await listening(f);
  const { promise: ended, resolve: end } = Promise.withResolvers<string>();
  let text = "";
  const socket = connect(port, "127.0.0.1", () => socket.write("GET /readyz HTTP/1.1\r\nHost: x\r\n\r\n"));
  socket.on("data", (data) => {
    text += data.toString();
  });
  socket.on("close", () => end(text));
  await asked;

  const closed = f.app.close();
  await vi.waitFor(() => expect(f.app.server.listening).toBe(false));
  socket.write("GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n");
  release();
  await closed;

  expect(await ended).toMatch(/HTTP\/1\.1 503 [\s\S]*"DRAINING"/);
});
