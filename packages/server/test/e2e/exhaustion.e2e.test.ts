/** What clients could make a node hold or do without being anybody, against a real node: each costs its own client the connection. */
import { type Socket, connect as tcp } from "node:net";
import { type NodeServer, waitFor } from "@carillon/testkit";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { sign } from "../auth/kit.ts";
import { Raw } from "./kit.ts";
import { figure, SERVER, startGuarded } from "./support/guarded.ts";

let node: NodeServer;
const opened: Raw[] = [];

beforeAll(async () => {
  node = await startGuarded({
    HIGH_WATER_BYTES: "65536",
    MESSAGES_PER_S: "10",
    // So that nothing here ends because nobody is heard of it.
    CONNECT_TIMEOUT_MS: "120000",
    PING_INTERVAL_MS: "120000",
  });
});
afterEach(async () => {
  for (const raw of opened.splice(0)) raw.close();
  await waitFor(async () => (await open()) === 0, { what: "all of them to be gone" });
  expect(node.logs.filter(({ level }) => level === "error")).toEqual([]);
});
afterAll(async () => {
  await node?.stop(3000);
});

const open = () => figure(node, "carillon_transports");

async function opens(path?: string): Promise<Raw> {
  const raw = path === undefined ? await Raw.open(node.url) : new Raw(node.url, path);
  opened.push(raw);
  return raw;
}

describe("a client that reads nothing of what it is answered", () => {
  let raw: Raw;
  let socket: Socket;

  beforeEach(async () => {
    raw = await opens();
    socket = (raw.socket as unknown as { readonly _socket: Socket })._socket;
    socket.pause();
    await waitFor(async () => (await open()) === 1, { what: "it to be counted" });
  });

  /** For as long as the node takes it, beyond what the buffers of two kernels hold. */
  async function flood(send: () => void, isOver: () => Promise<boolean>): Promise<void> {
    await waitFor(
      async () => {
        if (await isOver()) return true;
        for (let i = 0; i < 100 && socket.writable && socket.writableLength < 4_000_000; i++) send();
        return false;
      },
      { what: "the node to end it", timeoutMs: 60_000 },
    );
  }

  test("is ended while it asks for namespaces that there are not, and counted", async () => {
    const before = await figure(node, "carillon_slow_closed_total");
    const name = "x".repeat(200_000);

    let asked = 0;
    await flood(
      () => {
        // Few enough for its rate.
        if (asked++ < 90) raw.send(`40/${name},`);
      },
      async () => (await figure(node, "carillon_slow_closed_total")) > before,
    );
  });

  test("is ended while it pings the WebSocket", async () => {
    await flood(
      () => raw.socket.ping("x".repeat(100)),
      async () => (await open()) === 0,
    );
  });
});

test("who goes on asking for namespaces over its rate is ended and counted, and a few more than there are do no harm", async () => {
  const before = await figure(node, "carillon_abuse_closed_total");
  const raw = await opens();

  for (let i = 0; i < 20; i++) raw.send(`40/nope${i},`);
  await raw.next("44/nope19,");
  for (let i = 0; i < 200; i++) raw.send("40/nope,");

  await waitFor(() => raw.closed, { what: "its end" });
  expect(await figure(node, "carillon_abuse_closed_total")).toBe(before + 1);
});

test("a second probe on a transport that is to replace another ends it", async () => {
  const polled = await (await fetch(`${node.url}/socket.io/?EIO=4&transport=polling`)).text();
  const { sid } = JSON.parse(polled.slice(1)) as { sid: string };
  const raw = await opens(`/socket.io/?EIO=4&transport=websocket&sid=${sid}`);
  await waitFor(() => raw.socket.readyState === raw.socket.OPEN, { what: "its upgrade" });

  raw.send("2probe");
  await raw.next("3probe");
  raw.send("2probe");

  await waitFor(() => raw.closed, { what: "its end", timeoutMs: 5000 });
});

test("a plain client that is nobody yet is not read more from than who it is can take", async () => {
  const raw = await opens("/ws");
  await waitFor(() => raw.socket.readyState === raw.socket.OPEN, { what: "its upgrade" });
  const token = await sign({ sub: "42" });

  raw.send(JSON.stringify({ type: "auth", token, beside: "x".repeat(50_000) }));
  const refusal = await raw.next('{"type":"error"');
  raw.send(JSON.stringify({ type: "auth", token }));

  expect(JSON.parse(refusal)).toMatchObject({ code: "UNAUTHENTICATED" });
  await raw.next('{"type":"ready"');
});

/** What is answered to bytes until the node closes, or for as long as the answers that are waited for take. */
function exchange(bytes: string, isWhole: (answer: string) => boolean): Promise<string> {
  return new Promise((resolve) => {
    let text = "";
    const socket = tcp(node.port, "127.0.0.1", () => socket.write(bytes));
    socket.setTimeout(20_000, () => socket.destroy());
    socket.on("data", (data) => {
      text += data.toString("latin1");
      if (isWhole(text)) socket.destroy();
    });
    socket.on("error", () => {});
    socket.on("close", () => resolve(text));
  });
}

test("a stream that is asked for before the answer to the request before it is refused", async () => {
  const request = (path: string) => `GET ${path} HTTP/1.1\r\nHost: x\r\nAuthorization: ${SERVER.authorization}\r\n\r\n`;

  const text = await exchange(`${request("/healthz")}${request("/events?channel=news")}`, (so) =>
    so.includes("requestId"),
  );

  expect(text).toMatch(/^HTTP\/1\.1 200 [\s\S]*HTTP\/1\.1 400 [\s\S]*"code":"BAD_REQUEST"/);
});

describe("an upgrade to nothing that is here is a request like any other", () => {
  test("one to HTTP/2, as Java's client asks for first", async () => {
    const lines = [
      "POST /api/notifications/news HTTP/1.1",
      `Host: 127.0.0.1:${node.port}`,
      `Authorization: ${SERVER.authorization}`,
      "Content-Type: application/json",
      "Content-Length: 2",
      "Connection: Upgrade, HTTP2-Settings",
      "Upgrade: h2c",
      "HTTP2-Settings: AAEAAEAAAAIAAAAAAAMAAAAAAAQBAAAAAAUAAEAAAAYABgAA",
    ];

    expect(await exchange(`${lines.join("\r\n")}\r\n\r\n{}`, (so) => so.includes('"channel"'))).toMatch(
      /^HTTP\/1\.1 202 /,
    );
  });

  test("a WebSocket on another path", async () => {
    const lines = [
      "GET /websocket HTTP/1.1",
      "Host: x",
      "Connection: Upgrade",
      "Upgrade: websocket",
      "Sec-WebSocket-Version: 13",
      "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
    ];

    expect(await exchange(`${lines.join("\r\n")}\r\n\r\n`, (so) => so.includes("requestId"))).toMatch(
      /^HTTP\/1\.1 404 [\s\S]*"code":"NOT_FOUND"/,
    );
  });
});
