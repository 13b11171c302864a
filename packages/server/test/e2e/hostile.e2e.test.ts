/**
 * What nobody should send, at every level, against a real node. After each group the node is the same process and logged no error,
 * a bystander still hears what is published, and in the end memory is back where it was.
 */
import { connect as tcp } from "node:net";
import { api, type Client, type NodeServer, waitFor } from "@carillon/testkit";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { sign } from "../auth/kit.ts";
import { Raw } from "./kit.ts";
import { connectAs, figure, OPERATOR, publish, startGuarded } from "./support/guarded.ts";
import { EventStream, PlainSocket } from "./support/plain.ts";

let node: NodeServer;
let pid: number;
let bystander: Client;
let token: string;
let inputs = 0;
const opened: { close(): void }[] = [];

beforeAll(async () => {
  node = await startGuarded({
    CONNECT_TIMEOUT_MS: "1500",
    HEADERS_TIMEOUT_MS: "1500",
    CONNECTS_PER_S: "5000",
    MESSAGES_PER_S: "1000",
    PING_INTERVAL_MS: "2000",
    PING_TIMEOUT_MS: "3000",
  });
  pid = node.pid;
  token = await sign({ sub: "hostile", channels: ["*"], publish: ["*"], rooms: ["*"] });
  bystander = await connectAs(node.url, "/channels", { sub: "bystander", channels: ["*"] });
  await bystander.ready;
  await bystander.ask("subscribe", { channel: "chat" });
});
afterEach(async () => {
  for (const one of opened.splice(0)) one.close();
  const id = await publish(node.url, "chat", { still: "here" });
  await bystander.next("notification", (_body, trailing) => trailing === id);
  expect((await api(node.url).get("/healthz")).status).toBe(200);
  expect([node.running, node.pid]).toEqual([true, pid]);
  expect(node.logs.filter(({ level }) => level === "error" || level === "fatal")).toEqual([]);
});
afterAll(async () => {
  bystander?.close();
  await node?.stop(3000);
});

/** Sends bytes and waits for the end, or for an answer to be whole. Resolves with what came back. */
function bytes(data: string | Buffer, more: { readonly waitMs?: number } = {}): Promise<string> {
  inputs++;
  return new Promise((resolve) => {
    const socket = tcp(node.port, "127.0.0.1");
    const chunks: Buffer[] = [];
    const done = () => {
      clearTimeout(timer);
      socket.destroy();
      resolve(Buffer.concat(chunks).toString("latin1"));
    };
    const timer = setTimeout(done, more.waitMs ?? 4000);
    socket.on("data", (chunk) => {
      chunks.push(chunk);
      if (chunks.length === 1) setTimeout(done, 150);
    });
    socket.on("error", done);
    socket.on("close", done);
    socket.write(data);
  });
}

async function batched<T>(items: readonly T[], run: (item: T) => Promise<void>, size = 12): Promise<void> {
  for (let i = 0; i < items.length; i += size) await Promise.all(items.slice(i, i + size).map(run));
}

test("bytes that are hardly HTTP are answered with a 4xx or cut off", async () => {
  const host = "Host: x\r\n";
  const post = `POST /api/notifications/chat HTTP/1.1\r\n${host}Authorization: Bearer web-secret\r\nContent-Type: application/json\r\n`;
  const cases = [
    "\r\n\r\n\r\n",
    "x",
    "\0\0\0\0\r\n\r\n",
    "GET\r\n\r\n",
    "GET / HTTP/9.9\r\n\r\n",
    `GET / HTTP/1.1\r\n\r\n`,
    `get / HTTP/1.1\r\n${host}\r\n`,
    `GET  / HTTP/1.1\r\n${host}\r\n`,
    `GET / HTTP/1.1\r\n${host}${host}\r\n`,
    `GET / HTTP/1.1\r\nHost : x\r\n\r\n`,
    `GET / HTTP/1.1\r\n${host}No-Colon\r\n\r\n`,
    `GET / HTTP/1.1\r\n${host}: empty\r\n\r\n`,
    `GET / HTTP/1.1\r\n${host}A: b\0c\r\n\r\n`,
    `GET /\x01 HTTP/1.1\r\n${host}\r\n`,
    `GET /%zz HTTP/1.1\r\n${host}\r\n`,
    `GET /%00 HTTP/1.1\r\n${host}\r\n`,
    `GET /../../etc/passwd HTTP/1.1\r\n${host}\r\n`,
    `GET /docs/static/..%2f..%2f..%2fpackage.json HTTP/1.1\r\n${host}\r\n`,
    `GET //evil/ HTTP/1.1\r\n${host}\r\n`,
    `GET http://evil/ HTTP/1.1\r\n${host}\r\n`,
    `CONNECT evil:80 HTTP/1.1\r\n${host}\r\n`,
    `TRACE / HTTP/1.1\r\n${host}\r\n`,
    `BREW / HTTP/1.1\r\n${host}\r\n`,
    `PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n`,
    "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    `GET /${"a".repeat(20_000)} HTTP/1.1\r\n${host}\r\n`,
    `GET / HTTP/1.1\r\n${host}X: ${"y".repeat(20_000)}\r\n\r\n`,
    `GET / HTTP/1.1\r\n${host}${Array.from({ length: 3000 }, (_, i) => `H${i}: 1\r\n`).join("")}\r\n`,
    `${post}Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello`,
    `${post}Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n`,
    `${post}Content-Length: -1\r\n\r\n`,
    `${post}Content-Length: 1e3\r\n\r\n1`,
    `${post}Content-Length: 99999999999999999999\r\n\r\n1`,
    `${post}Transfer-Encoding: chunked\r\n\r\nzz\r\n1\r\n0\r\n\r\n`,
    `${post}Transfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n`,
    `${post}Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n`,
    `${post}Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n`,
    `${post}Content-Length: 99999999\r\n\r\n1`,
    `${post}Expect: 200-maybe\r\nContent-Length: 1\r\n\r\n1`,
    `${post}\r\n`,
    `GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\n${host}Upgrade: h2c\r\nConnection: Upgrade\r\n\r\n`,
    `GET /elsewhere HTTP/1.1\r\n${host}Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n`,
  ];

  await batched(cases, async (data) => {
    const answer = await bytes(data);
    // The one that sends half of a request waits for the rest; it is cut off by the time limit of another test.
    expect([data.slice(0, 80), answer === "" || /^HTTP\/1\.1 (4\d\d|501|505) /.test(answer)]).toEqual([
      data.slice(0, 80),
      true,
    ]);
  });
  expect(cases.length).toBeGreaterThanOrEqual(40);
});

test("bodies that are no JSON, or not the documented one, are 4xx problem documents", async () => {
  const json = { authorization: "Bearer web-secret", "content-type": "application/json" };
  const bodies = [
    "",
    " ",
    "{",
    "}",
    "{]",
    "[1,",
    "nul",
    "NaN",
    "Infinity",
    "01",
    "1.",
    "'a'",
    '"\\x"',
    '"\ud800',
    '{"a":1,}',
    '{"a" 1}',
    "{a:1}",
    "/**/1",
    "1 2",
    "\ufeff",
    "\u0000",
    '"\u0001"',
    `${"[".repeat(100_000)}`,
    `${'{"a":'.repeat(2000)}1${"}".repeat(2000)}`,
    `"${"x".repeat(70_000)}"`,
    `[${"1,".repeat(200_000)}1]`,
  ];
  await batched(bodies, async (body) => {
    inputs++;
    const answer = await api(node.url).raw("POST", "/api/notifications/chat", body, json);
    expect([
      body.slice(0, 30),
      answer.status >= 400 && answer.status < 500,
      typeof answer.body?.code,
      answer.headers.get("content-type"),
    ]).toEqual([body.slice(0, 30), true, "string", "application/problem+json; charset=utf-8"]);
  });
  const shapes: [string, unknown][] = [
    ...[
      null,
      1,
      "A",
      [],
      {},
      { scope: 1 },
      { scope: "" },
      { scope: "a b" },
      { scope: "A", to: 1 },
      { scope: "A", to: { users: "x" } },
      { scope: "A", to: { users: [{}] } },
      { scope: "A", to: { rooms: ["*"] } },
      { scope: "A", to: { except: 1 } },
      { scope: "A", to: { nobody: [] } },
      { scope: "A", to: { users: Array.from({ length: 10_001 }, () => "x") } },
    ].map((body): [string, unknown] => ["/api/refresh/trips", body]),
    ...[
      null,
      {},
      { publications: {} },
      { publications: [] },
      { publications: Array.from({ length: 1001 }, () => ({ channel: "chat", payload: 1 })) },
    ].map((body): [string, unknown] => ["/api/publications", body]),
    ["/api/refresh/__proto__", { scope: "A" }],
    ["/api/notifications/..", 1],
    ["/api/notifications/%2e%2e", 1],
    ["/api/notifications/%ff", 1],
    ["/api/notifications/a%00b", 1],
    ["/api/tickets/x", 1],
    ["/api", 1],
  ];
  await batched(shapes, async ([path, body]) => {
    inputs++;
    const answer = await api(node.url).post(path, body, { authorization: "Bearer web-secret" });
    expect([path, body, answer.status >= 400 && answer.status < 500, typeof answer.body?.code]).toEqual([
      path,
      body,
      true,
      "string",
    ]);
  });
});

test("handshakes that Engine.IO does not know are 4xx", async () => {
  const q = (query: string) => `/socket.io/?${query}`;
  const paths = [
    "",
    "EIO=4",
    "EIO=3&transport=polling",
    "EIO=5&transport=polling",
    "EIO=&transport=polling",
    "EIO=4&transport=",
    "EIO=4&transport=carrier-pigeon",
    "EIO=4&transport=__proto__",
    "EIO=4&transport=constructor",
    "EIO=4&transport=websocket",
    "EIO=4&transport=polling&transport=websocket",
    "EIO=4&transport[]=polling",
    "EIO=4&transport=polling&sid=unknown",
    "EIO=4&transport=polling&sid=__proto__",
    "EIO=4&transport=polling&sid=constructor",
    "EIO=4&transport=polling&sid=%00",
    `EIO=4&transport=polling&sid=${"x".repeat(5000)}`,
    "EIO=4&transport=polling&sid=a&sid=b",
    "EIO=4&transport=webtransport",
    "EIO=4&transport=polling&sid=toString",
  ].map(q);
  await batched(paths, async (path) => {
    inputs++;
    const answer = await api(node.url).get(path);
    expect([path, answer.status]).toEqual([path, expect.toSatisfy((status: number) => status >= 400 && status < 500)]);
  });
  for (const method of ["POST", "PUT", "DELETE", "PATCH"]) {
    inputs++;
    expect((await api(node.url).raw(method, q("EIO=4&transport=polling"), "x")).status).toBeGreaterThanOrEqual(400);
  }
});

test("a polling session that is fed nonsense is ended, and nothing else", async () => {
  const url = "/socket.io/?EIO=4&transport=polling";
  const bodies: (string | Uint8Array)[] = [
    "",
    "x",
    "9",
    "0",
    "1",
    "2",
    "2probe",
    "3probe",
    "5",
    "6",
    "bAAAA",
    "b!!!!",
    "4",
    "40\x1e40\x1e40",
    `${"2\x1e".repeat(5000)}2`,
    "\x1e\x1e\x1e",
    new Uint8Array([0xff, 0xfe, 0x00]),
    new Uint8Array(2000),
    "42[",
    `4${"x".repeat(400_000)}`,
    "b".repeat(1000),
    `4${"[".repeat(50_000)}`,
  ];
  await batched(bodies, async (body) => {
    inputs++;
    const sid = JSON.parse((await api(node.url).get(url)).text.slice(1)).sid;
    const answer = await api(node.url)
      .raw("POST", `${url}&sid=${sid}`, body, { "content-type": "text/plain;charset=UTF-8" })
      .catch(() => ({ status: 0 }));
    expect([String(body).slice(0, 20), [0, 200, 400, 413].includes(answer.status)]).toEqual([
      String(body).slice(0, 20),
      true,
    ]);
    // A second poll beside the first one is no way to hold the session.
    await Promise.allSettled([api(node.url).get(`${url}&sid=${sid}`), api(node.url).get(`${url}&sid=${sid}`)]);
  });
});

test.each(["/socket.io/?EIO=4&transport=websocket", "/ws"])(
  "WebSocket frames that break the protocol end their connection: %s",
  async (path) => {
    const handshake = `GET ${path} HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n`;
    const mask = [1, 2, 3, 4];
    const frame = (first: number, body: number[], length: number[] = [0x80 | body.length]) =>
      Buffer.from([first, ...length, ...mask, ...body.map((byte, i) => byte ^ mask[i % 4]!)]);
    const frames: [string, Buffer, ended?: boolean][] = [
      ["unmasked", Buffer.from([0x81, 1, 0x32])],
      ["RSV1", frame(0xc1, [0x32])],
      ["RSV2", frame(0xa1, [0x32])],
      ["RSV3", frame(0x91, [0x32])],
      ["opcode 3", frame(0x83, [])],
      ["opcode 7", frame(0x87, [])],
      ["opcode 11", frame(0x8b, [])],
      ["opcode 15", frame(0x8f, [])],
      ["a continuation of nothing", frame(0x80, [0x32])],
      ["a fragmented ping", frame(0x09, [])],
      ["a long ping", Buffer.concat([Buffer.from([0x89, 0xfe, 0, 126, ...mask]), Buffer.alloc(126)])],
      ["a new message within another", Buffer.concat([frame(0x01, [0x34]), frame(0x81, [0x32])])],
      ["invalid UTF-8", frame(0x81, [0x34, 0xff, 0xfe])],
      ["half a character", frame(0x81, [0x34, 0xe2, 0x82])],
      ["a surrogate", frame(0x81, [0x34, 0xed, 0xa0, 0x80])],
      ["2^63 bytes", Buffer.from([0x81, 0xff, 0x80, 0, 0, 0, 0, 0, 0, 0, ...mask])],
      ["2^53 bytes", Buffer.from([0x81, 0xff, 0x00, 0x20, 0, 0, 0, 0, 0, 1, ...mask])],
      ["1 GiB", Buffer.from([0x81, 0xff, 0, 0, 0, 0, 0x40, 0, 0, 0, ...mask])],
      ["1 MiB of binary", Buffer.from([0x82, 0xff, 0, 0, 0, 0, 0, 0x10, 0, 0, ...mask])],
      ["close with one byte", frame(0x88, [3])],
      ["close code 999", frame(0x88, [3, 0xe7])],
      ["close code 1006", frame(0x88, [3, 0xee])],
      ["close with bad text", frame(0x88, [3, 0xe8, 0xff])],
      ["binary where text is due", frame(0x82, [0x32])],
      ["an empty text", frame(0x81, [])],
      ["an empty binary", frame(0x82, [])],
      ["noise", Buffer.from(Array.from({ length: 2000 }, (_, i) => (i * 37) % 256))],
      ["pings", Buffer.concat(Array.from({ length: 2000 }, () => frame(0x89, [1])))],
      [
        "a million empty fragments",
        Buffer.concat([frame(0x01, [0x34]), ...Array.from({ length: 20_000 }, () => frame(0x00, []))]),
      ],
      ["a message that never ends", frame(0x01, [0x34])],
    ];
    await batched(frames, async ([name, data]) => {
      const answer = await bytes(Buffer.concat([Buffer.from(handshake), data]), { waitMs: 3500 });
      expect([name, answer.startsWith("HTTP/1.1 101 ")]).toEqual([name, true]);
    });
    await waitFor(
      async () => {
        const { text } = await api(node.url).get("/metrics", OPERATOR);
        return ['websocket"} 1', 'ws"} 0'].every((count) => text.includes(`carillon_transports{transport="${count}`));
      },
      { what: "all of them to be gone" },
    );
  },
);

test("upgrades to /ws that are none are 4xx", async () => {
  const upgrade = (...lines: string[]) =>
    `GET /ws HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n${lines.join("\r\n")}\r\n\r\n`;
  const key = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==";
  const cases = [
    upgrade(),
    upgrade("Sec-WebSocket-Version: 13"),
    upgrade(key),
    upgrade(key, "Sec-WebSocket-Version: 99"),
    upgrade("Sec-WebSocket-Key: x", "Sec-WebSocket-Version: 13"),
    upgrade(key, "Sec-WebSocket-Version: 13", "Sec-WebSocket-Protocol: ,,"),
    upgrade(key, "Sec-WebSocket-Version: 13").replace("GET", "POST"),
    upgrade(key, "Sec-WebSocket-Version: 13", "Origin: https://evil.example"),
    upgrade(key, "Sec-WebSocket-Version: 13").replace("Upgrade: websocket", "Upgrade: h2c"),
  ];

  await batched(cases, async (data) => expect(await bytes(data)).toMatch(/^HTTP\/1\.1 4\d\d /));
});

/** None of the frames of `/ws`, or one of them with nonsense in it. */
const PLAIN_FRAMES = [
  "",
  "x",
  "null",
  "1",
  '"ping"',
  "[]",
  "{}",
  '{"type":null}',
  '{"type":["ping"]}',
  '{"type":"PING"}',
  '{"type":"__proto__"}',
  '{"type":"constructor"}',
  '{"type":"auth:refresh","token":"x"}',
  '{"type":"ping","ref":null}',
  '{"type":"ping","ref":[]}',
  `{"type":"ping","ref":"${"r".repeat(200)}"}`,
  '{"type":"subscribe"}',
  '{"type":"subscribe","channel":null}',
  '{"type":"subscribe","channel":{}}',
  '{"type":"subscribe","channel":"__proto__ "}',
  '{"type":"subscribe","channel":"../x"}',
  '{"type":"subscribe","channel":1e999}',
  '{"type":"subscribe","channel":12345678901234567890.5}',
  '{"type":"unsubscribe","channel":""}',
  '{"type":"join","channel":"chat"}',
  '{"type":"join","channel":"chat","room":"user:1"}',
  '{"type":"leave","channel":"chat","room":{}}',
  '{"type":"publish","channel":"chat"}',
  '{"type":"publish","channel":"chat","payload":',
  `{"type":"publish","channel":"chat","payload":"${"p".repeat(100_000)}"}`,
  `{"type":"publish","channel":"chat","payload":${"[".repeat(20_000)}${"]".repeat(20_000)}}`,
  '{"type":"state"}',
  '{"type":"state","foreground":"yes"}',
  '{"type":"seen","ids":"e"}',
  '{"type":"seen","ids":[{}]}',
  '{"type":"auth","token":{}}',
  `{"type":"auth","token":"${"t".repeat(20_000)}"}`,
];

describe.each(["before it is anybody", "as somebody"])("plain frames, %s", (when) => {
  test(`${PLAIN_FRAMES.length} kinds, as text and as binary, are answered with an error or end the connection`, async () => {
    const anybody = when === "before it is anybody";
    await batched(PLAIN_FRAMES, async (frame) => {
      for (const data of [frame, Buffer.from(frame)]) {
        inputs++;
        const plain = await PlainSocket.open(
          node.url,
          anybody ? {} : { headers: { authorization: `Bearer ${token}` } },
        );
        opened.push(plain);
        if (!anybody) await plain.next("ready");
        plain.say(data);
        await waitFor(() => plain.end !== undefined || plain.heard.some(({ type }) => type === "error"), {
          what: `an answer to ${frame.slice(0, 80)}`,
        });
        plain.close();
      }
    });
  });
});

test("streams that nobody may have, or that are asked for with nonsense, are 4xx problem documents", async () => {
  const queries = [
    "",
    "?",
    "?channel",
    "?channel=",
    "?channel=%00",
    "?channel=%zz",
    "?channel[]=chat",
    "?channel=a%20b",
    `?channel=${"c".repeat(64)}`,
    "?channel=chat&room=",
    "?channel=chat&room=user:1",
    "?channel=chat&room=~abc",
    `?channel=chat&room=${"r".repeat(129)}`,
    `?${Array.from({ length: 1100 }, (_, n) => `channel=c${n}`).join("&")}`,
    `?channel=chat&${Array.from({ length: 1200 }, (_, n) => `room=r${n}`).join("&")}`,
    "?channel=chat&ticket=",
    "?channel=chat&ticket=__proto__",
    `?channel=chat&ticket=${"t".repeat(43)}`,
    `?channel=chat&installationId=${"i".repeat(200)}`,
    "?channel=chat&user=somebody-else",
  ];
  await batched(queries, async (query) => {
    inputs++;
    const answer = await api(node.url).get(`/events${query}`, { authorization: `Bearer ${token}` });
    expect([query.slice(0, 60), answer.status, typeof answer.body?.code]).toEqual([
      query.slice(0, 60),
      expect.toSatisfy((status: number) => status >= 400 && status < 500),
      "string",
    ]);
  });
  for (const id of ["x", "1-", "-1", "9".repeat(300), "1-99999999999999999999"]) {
    const stream = await EventStream.open(node.url, {
      query: { channel: "chat" },
      headers: { authorization: `Bearer ${token}`, "last-event-id": id },
    });
    expect(await stream.next("ready")).toMatchObject({ recovered: false });
    expect(stream.events[0]).toBe("gap");
    stream.close();
  }
});

/** What a raw client sends before it is anybody, and after. */
const FRAMES = [
  "",
  "0",
  "1",
  "2",
  "2probe",
  "3",
  "4",
  "5",
  "6",
  "7",
  "9",
  "a",
  "40x",
  "40{",
  "40/trips",
  "40/trips,[]",
  "40/trips,1",
  '40/trips,"x"',
  "40/nowhere,",
  "40/__proto__,",
  "40/constructor,{}",
  `40/${"n".repeat(3000)},`,
  "41",
  "41/trips,",
  "41/trips,x",
  "42",
  "42[",
  "42[]",
  "42{}",
  "42null",
  "42[null]",
  "42[1]",
  '42[""]',
  '42["connect"]',
  '42["connect_error",{}]',
  '42["disconnect","x"]',
  '42["disconnecting"]',
  '42["newListener"]',
  '42["removeListener"]',
  "42/trips,",
  "42/trips,[]",
  "42/trips,[1]",
  "42/trips,[[]]",
  "42/trips,[{}]",
  '42/trips,["error"]',
  "43",
  "43[]",
  "43999999999999999999[]",
  "43/trips,0[1]",
  '43/trips,["x"]',
  "44",
  '44{"message":"x"}',
  "44/trips,{}",
  "45",
  "451-",
  '451-["x",{"_placeholder":true,"num":0}]',
  '45999999-["x"]',
  '45-1-["x"]',
  '451.5-["x"]',
  '451-["x",{"_placeholder":true,"num":-1}]',
  '451-["x",{"_placeholder":true,"num":99}]',
  '451-["x",{"_placeholder":true,"num":"splice"}]',
  '452-/trips,["join",{"_placeholder":true,"num":0}]',
  "46",
  "461-",
  '461-/trips,0["x"]',
  "47",
  "48[]",
  `42["x",${"[".repeat(20_000)}${"]".repeat(20_000)}]`,
  `42/trips,1["join",{"room":"${"r".repeat(100_000)}"}]`,
  '{"type":"auth"}',
  "hello",
  "b4",
  "\u0000",
  "42[\ud83d]",
  '42["x"]'.repeat(100),
  "4".repeat(10_000),
];

describe.each([
  ["before a namespace is joined", false],
  ["on a namespace", true],
])("Socket.IO packets %s", (_when, joined) => {
  test(`${FRAMES.length} kinds, as text and as binary, answer an error or end the transport`, async () => {
    await batched(
      FRAMES.flatMap((text) => [text, Buffer.from(text)]),
      async (data) => {
        inputs++;
        const raw = await Raw.open(node.url);
        opened.push(raw);
        if (joined) {
          raw.send(`40/trips,{"token":"${token}"}`);
          await raw.next('42/trips,["ready"');
        }
        raw.frames.length = 0;
        raw.send(data);
        if (!joined)
          await waitFor(() => raw.closed || raw.frames.length > 0, {
            what: `an end after ${String(data).slice(0, 40)}`,
            timeoutMs: 8000,
          });
        expect(raw.frames.filter((frame) => frame.startsWith("42"))).toEqual([]);
        raw.close();
      },
    );
  });
});

test("every request with every kind of argument gets a structured answer where it asks for one, and none where it doesn't", async () => {
  const events = ["join", "leave", "subscribe", "unsubscribe", "publish", "state", "seen", "auth:refresh"];
  const bodies = [
    "",
    "null",
    "0",
    '""',
    "[]",
    "{}",
    "true",
    '"x"',
    '{"room":null,"channel":null}',
    '{"room":{},"channel":[]}',
    '{"room":"__proto__","channel":"__proto__"}',
    '{"channel":"*","room":"*"}',
    '{"channel":"chat","since":{}}',
    '{"channel":"chat","since":"999999999999999-999999999999999"}',
    '{"channel":"chat","payload":{"__proto__":1}}',
    '{"token":{}}',
    '{"token":"x.y.z"}',
    '{"ids":[{}]}',
    '{"foreground":"yes"}',
    "[[[[]]]]",
    Array.from({ length: 50 }, () => "{}").join(","),
    `"${"x".repeat(100_000)}"`,
    '{},"second"',
  ];
  const raw = await Raw.open(node.url);
  opened.push(raw);
  raw.send(`40/channels,{"token":"${token}"}`);
  await raw.next('42/channels,["ready"');
  let ack = 0;
  for (const event of events) {
    for (const body of bodies) {
      inputs++;
      const args = body === "" ? "" : `,${body}`;
      raw.send(`42/channels,["${event}"${args}]`);
      raw.send(`42/channels,${++ack}["${event}"${args}]`);
      const answer = JSON.parse((await raw.next(`43/channels,${ack}[`)).replace(/^43\/channels,\d+/, ""));
      expect([event, body.slice(0, 40), answer]).toEqual([
        event,
        body.slice(0, 40),
        [
          expect.toSatisfy(
            (it: { ok: unknown; error?: { code?: unknown; message?: unknown } }) =>
              it.ok === true ||
              (it.ok === false && typeof it.error?.code === "string" && typeof it.error.message === "string"),
          ),
        ],
      ]);
      expect(answer[0].error?.code).not.toBe("INTERNAL");
    }
  }
  expect(raw.closed).toBe(false);
});

test("forged and stolen sessions and offsets get nothing of anybody's, and are told what they missed", async () => {
  const victim = await connectAs(node.url, "/channels", { sub: "victim", channels: ["*"], rooms: ["*"] });
  opened.push(victim);
  await victim.ready;
  await victim.ask("subscribe", { channel: "secret" });
  await victim.ask("join", { channel: "secret", room: "vault" });
  const stolen = (victim.socket as unknown as { _pid: string })._pid;
  const id = await publish(node.url, "secret", "before");
  await victim.next("notification");
  victim.close();
  await publish(node.url, "secret", "SECRET");
  const offsets = [
    id,
    "0-0",
    "1-1",
    "-1-1",
    "999999999999999-1",
    "x",
    "",
    " ",
    null,
    {},
    [],
    5,
    "1-1-1",
    "9".repeat(200),
    "__proto__",
    `${id} `,
  ];
  const pids = [stolen, "forged", "", null, 5, {}, "__proto__", "x".repeat(10_000)];
  const cases = offsets.flatMap((offset) => pids.map((pid) => ({ pid, offset })));
  const own = await sign({ sub: "thief" });

  await batched(cases, async (auth) => {
    inputs++;
    const raw = await Raw.open(node.url);
    raw.send(`40/channels,${JSON.stringify({ token: own, ...auth })}`);
    const ready = JSON.parse((await raw.next('42/channels,["ready"')).slice("42/channels,".length));
    expect([auth, ready[1]]).toEqual([
      auth,
      expect.objectContaining({ user: "thief", channels: [], rooms: ["user:thief"] }),
    ]);
    expect(raw.frames.join()).not.toContain("SECRET");
    if (auth.pid === stolen || auth.pid === "forged") expect(ready[1].recovered).toBe(false);
    raw.close();
  });
});

test("attachments that never come, thousands of subscriptions and floods cost the others nothing", async () => {
  const raws = await Promise.all(Array.from({ length: 10 }, () => Raw.open(node.url)));
  opened.push(...raws);
  for (const raw of raws) {
    raw.send(`40/channels,{"token":"${token}"}`);
    await raw.next('42/channels,["ready"');
  }
  const [waiting, subscriber, joiner, flood, ...rest] = raws as [Raw, Raw, Raw, Raw, ...Raw[]];
  inputs += 6000;
  waiting.send('451-/channels,["publish",{"channel":"chat","payload":{"_placeholder":true,"num":0}}]');
  waiting.send('42/channels,["state",{}]');
  for (let i = 0; i < 2000; i++) {
    subscriber.send(`42/channels,${i}["subscribe",{"channel":"c${i}"}]`);
    joiner.send(`42/channels,${i}["join",{"channel":"chat","room":"r${i}"}]`);
  }
  for (let i = 0; i < 20_000 && !flood.closed; i++) flood.send('42/channels,["state",{"foreground":true}]');
  for (const raw of rest) raw.send(Buffer.alloc(100_000, 0x34));

  for (const raw of [subscriber, joiner]) {
    await waitFor(() => raw.frames.filter((frame) => frame.startsWith("43")).length === 2000 || raw.closed, {
      what: "an answer to each",
    });
    expect(raw.frames.filter((frame) => frame.includes('"ok":true')).length).toBe(100);
    expect(raw.frames.filter((frame) => /TOO_MANY_(SUBSCRIPTIONS|ROOMS)|RATE_LIMITED/.test(frame)).length).toBe(1900);
  }
  await waitFor(() => flood.closed && waiting.closed, { what: "the flood and the liar to be ended" });
});

test("after more than 200 inputs nobody is left and memory is back to where it was", async () => {
  expect(inputs).toBeGreaterThan(200);
  await waitFor(
    async () =>
      (await figure(node, "carillon_transports", { transport: "websocket" })) === 1 &&
      (await figure(node, "carillon_transports", { transport: "polling" })) === 0,
    { what: "everybody but the bystander to be gone" },
  );

  await waitFor(async () => (await figure(node, "nodejs_heap_size_used_bytes")) < 96 * 1024 * 1024, {
    what: "the heap to be small again",
    timeoutMs: 30_000,
    everyMs: 500,
  });
  expect(bystander.socket.connected).toBe(true);
  expect(bystander.events.filter(({ event }) => event === "ready")).toHaveLength(1);
});
