/** TLS to Redis, to Postgres and at nginx, with certificates made here. */
import { spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import {
  type Client,
  certificateIn,
  connect,
  freePort,
  NodeServer,
  startNginx,
  startNode,
  startPostgres,
  startRedis,
  tempDir,
  waitFor,
} from "@carillon/testkit";
import { describe, expect, onTestFinished, test } from "vitest";
import { textOf } from "../infra/files.ts";
import { refresh, TRANSPORTS } from "./kit.ts";

async function start(env: Record<string, string>): Promise<NodeServer> {
  const node = await startNode({ DRAIN_TIMEOUT_S: "2", ...env });
  onTestFinished(async () => void (await node.stop(3000)));
  return node;
}
const ready = (node: NodeServer) =>
  waitFor(async () => (await node.readyz()).body?.status === "ok", { what: "a ready node", timeoutMs: 30_000 });

/** What a node writes that does not start. */
async function refusal(env: Record<string, string>): Promise<string> {
  const node = new NodeServer(env);
  onTestFinished(async () => void (await node.stop(3000)));
  return node.start().then(
    () => "it started",
    (error: Error) => error.message,
  );
}

test("Redis: an authority of one's own by NODE_EXTRA_CA_CERTS; without it nothing is trusted", async () => {
  const redis = await startRedis({ tls: true, password: "s3cret" });
  onTestFinished(() => redis.stop());
  await ready(await start({ REDIS_URL: redis.url, NODE_EXTRA_CA_CERTS: redis.caFile ?? "" }));

  const wary = await start({ REDIS_URL: redis.url });

  expect((await wary.readyz()).status).toBe(503);
  expect(wary.output).toMatch(/self.signed/i);
  expect(wary.output).not.toContain("s3cret");
});

describe("Postgres", () => {
  test("every connection is encrypted and verified, whichever way the authority is named", async () => {
    const postgres = await startPostgres({ tls: true });
    onTestFinished(() => postgres.stop());
    const caFile = postgres.caFile ?? "";

    for (const env of [
      { DATABASE_URL: `${postgres.url}?sslmode=verify-full&sslrootcert=${caFile}` },
      { DATABASE_URL: `${postgres.url}?sslmode=require`, NODE_EXTRA_CA_CERTS: caFile },
    ]) {
      const node = await start(env);
      await ready(node);
      const open = await postgres.query(
        "select ssl from pg_stat_ssl join pg_stat_activity using (pid) where application_name like 'carillon%'",
      );
      expect([env, open.length > 0, open.every(({ ssl }) => ssl)]).toEqual([env, true, true]);
      expect(node.output).not.toContain("SECURITY WARNING");
      await node.stop();
    }
  });

  test("another authority, a file that is missing and a server without TLS end the start, each by name", async () => {
    const postgres = await startPostgres({ tls: true });
    onTestFinished(() => postgres.stop());
    const plain = await startPostgres();
    onTestFinished(() => plain.stop());
    const { certFile: strangers } = certificateIn(tempDir("tls"));
    const with_ = (url: string, query: string) => ({
      DATABASE_URL: `${url.replace("postgres@", "postgres:s3cret@")}?${query}`,
    });

    const refusals = {
      unknown: await refusal(with_(postgres.url, "sslmode=require")),
      strange: await refusal(with_(postgres.url, `sslmode=verify-full&sslrootcert=${strangers}`)),
      missing: await refusal(with_(postgres.url, "sslmode=verify-full&sslrootcert=/nowhere/ca.pem")),
      plain: await refusal(with_(plain.url, "sslmode=require")),
    };

    expect(refusals).toEqual({
      unknown: expect.stringMatching(/ended at its start: exit code 1.*certificate that is not trusted.*sslrootcert/s),
      strange: expect.stringMatching(/ended at its start: exit code 1.*certificate that is not trusted.*sslrootcert/s),
      missing: expect.stringMatching(/ended at its start: exit code 1.*can't be read.*\/nowhere\/ca\.pem/s),
      plain: expect.stringMatching(/ended at its start: exit code 1.*speaks no TLS/s),
    });
    expect(JSON.stringify(refusals)).not.toContain("s3cret");
  });
});

describe("nginx", () => {
  /** The file as it ships, with other paths and another port; `http2 on` came with nginx 1.25.1. */
  function tlsConf(port: number, { certFile, keyFile }: ReturnType<typeof certificateIn>): string {
    const { stderr } = spawnSync("nginx", ["-v"], { encoding: "utf8", env: { PATH: `${process.env.PATH}:/usr/sbin` } });
    const [, minor = 0, patch = 0] = (/nginx\/1\.(\d+)\.(\d+)/.exec(stderr) ?? []).map(Number);
    const text = textOf("infra/nginx/tls.conf")
      .replace("listen 8443", `listen 127.0.0.1:${port}`)
      .replace("/etc/nginx/tls/fullchain.pem", certFile)
      .replace("/etc/nginx/tls/privkey.pem", keyFile);
    return minor > 25 || (minor === 25 && patch > 0) ? text : text.replace(/^http2 on;.*$/m, "");
  }

  test("stock clients come over wss and https, and only where they trust the authority", async () => {
    const certificate = certificateIn(join(tempDir("tls"), "nginx"));
    const node = await start({ TRUST_PROXY: "1" });
    const tlsPort = await freePort();
    const nginx = await startNginx(
      (port) => `server {
        listen 127.0.0.1:${port};
        ${tlsConf(tlsPort, certificate)}
        location / {
          proxy_pass ${node.url};
          proxy_http_version 1.1;
          proxy_set_header Host $http_host;
          proxy_set_header Upgrade $http_upgrade;
          proxy_set_header Connection upgrade;
          proxy_set_header X-Forwarded-Proto $scheme;
        }
      }`,
    );
    onTestFinished(() => nginx.stop());
    const url = `https://localhost:${tlsPort}`;
    const open = (options: object): Client => {
      const client = connect(url, "/trips", { reconnection: false, ...options });
      onTestFinished(() => client.close());
      return client;
    };

    for (const transport of TRANSPORTS) {
      const client = open({ transports: [transport], ca: readFileSync(certificate.certFile, "utf8") });
      await client.ready;
      await refresh(node.url, "trips", `OVER_${transport}`);
      expect((await client.next("refresh")).args[0].scope).toBe(`OVER_${transport}`);

      const wary = open({ transports: [transport] });
      const refused = new Promise<Error>((resolve) => wary.socket.once("connect_error", resolve));
      expect((await refused).message).toMatch(/^(?:websocket|xhr poll) error$/);
    }
  });
});
