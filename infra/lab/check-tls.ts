/**
 * What infra/nginx/docker-compose.tls.yml promises, as `node check-tls.ts <port> <authority's PEM file>`: stock clients come over wss, and
 * only where they trust the authority. `check.sh` has started it.
 */
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { connect } from "../../packages/testkit/src/index.ts";

const [port = "", caFile = ""] = process.argv.slice(2);
const url = `https://localhost:${port}`;

for (const transport of ["websocket", "polling"]) {
  const client = connect(url, "/trips", { transports: [transport], ca: readFileSync(caFile, "utf8") });
  await client.ready;
  const json = ["-H", "content-type: application/json", "-d", `{"scope":"${transport}"}`];
  execFileSync("curl", ["-fsS", "--http2", "--cacert", caFile, `${url}/api/refresh/trips`, ...json]);
  assert.equal((await client.next("refresh")).args[0].scope, transport);
  client.close();

  const wary = connect(url, "/trips", { transports: [transport], reconnection: false });
  const refused = await new Promise((resolve) => wary.socket.once("connect_error", resolve));
  assert.match(String(refused), /(websocket|poll) error/);
}
console.log("ok  TLS at nginx: wss, polling and HTTP/2, for whoever trusts the authority");
