/** The repository's nginx.conf in a real nginx: in front of one node, and without the directives that only a recent one knows. */
import { connect } from "node:net";
import { type NginxServer, type NodeServer, startNginx, tempDir } from "@carillon/testkit";
import { afterAll, beforeAll, expect, test } from "vitest";
import { SERVER, startGuarded } from "../e2e/support/guarded.ts";
import { textOf } from "./files.ts";

let node: NodeServer;
let nginx: NginxServer;

beforeAll(async () => {
  node = await startGuarded();
  const dir = tempDir("front");
  nginx = await startNginx((port) => adapted(port, dir));
});
afterAll(async () => {
  await nginx?.stop();
  await node?.stop(3000);
});

function adapted(port: number, dir: string): string {
  return textOf("nginx.conf")
    .replace(/^ *resolver .*$/m, "")
    .replaceAll(/server api:3000 resolve ([^;]+;)(?: sticky [^;]+;)?/g, `server 127.0.0.1:${node.port} $1`)
    .replace("listen 8080 reuseport;", `listen 127.0.0.1:${port};`)
    .replace("include /etc/nginx/carillon.d/*.conf;", "")
    .replace("worker_connections 32768", "worker_connections 512")
    .replace(/^pid .*$/m, process.getuid?.() === 0 ? "user root;" : "")
    .replace("error_log /dev/stderr", "error_log stderr")
    .replace("access_log /dev/stdout json", "access_log off")
    .replaceAll(/_temp_path \/tmp\//g, `_temp_path ${dir}/`);
}

/** The first answer to raw bytes. */
function exchange(bytes: string): Promise<string> {
  return new Promise((resolve) => {
    let text = "";
    const socket = connect(nginx.port, "127.0.0.1", () => socket.write(bytes));
    socket.setTimeout(20_000, () => socket.destroy());
    socket.on("data", (data) => {
      text += data.toString("latin1");
      if (/\r\n\r\n[\s\S]*[}>]\s*$/.test(text)) socket.destroy();
    });
    socket.on("error", () => {});
    socket.on("close", () => resolve(text));
  });
}

const post = (...headers: string[]) =>
  [
    "POST /api/notifications/news HTTP/1.1",
    "Host: x",
    `Authorization: ${SERVER.authorization}`,
    "Content-Type: application/json",
    ...headers,
    "",
    "",
  ].join("\r\n");

test.each([
  ["a version that there is not", "GET / HTTP/9.0\r\nHost: x\r\n\r\n", 400, "BAD_REQUEST"],
  ["a transfer coding that there is not", post("Transfer-Encoding: odd"), 400, "BAD_REQUEST"],
  ["two lengths", `${post("Content-Length: 6", "Transfer-Encoding: chunked")}0\r\n\r\nG`, 400, "BAD_REQUEST"],
  ["two hosts", "GET /healthz HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n", 400, "BAD_REQUEST"],
  ["TRACE", "TRACE / HTTP/1.1\r\nHost: x\r\n\r\n", 405, "METHOD_NOT_ALLOWED"],
  ["a long URL", `GET /${"a".repeat(70_000)} HTTP/1.1\r\nHost: x\r\n\r\n`, 431, "HEADERS_TOO_LARGE"],
  [
    "what is for Prometheus, by another spelling",
    "GET /api/../%6detrics HTTP/1.1\r\nHost: x\r\n\r\n",
    404,
    "NOT_FOUND",
  ],
])("nginx refuses %s with a problem document", async (_what, bytes, status, code) => {
  const answer = await exchange(bytes);

  expect(answer).toMatch(new RegExp(`^HTTP/1\\.1 ${status} `));
  expect(answer).toContain("application/problem+json");
  expect(answer).toContain(`"code":"${code}"`);
});

test("a request that asks for HTTP/2 beside what it wants gets what it wants", async () => {
  const upgrade = ["Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAEAAEAAAAIAAAAA"];

  expect(await exchange(`${post("Content-Length: 1", ...upgrade)}1`)).toMatch(/^HTTP\/1\.1 202 /);
});
