/** One visit each: some clients are good, some are clumsy, some are malicious. None of them ever throws. */
import { createHmac } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import { type ConnectOptions, connect } from "@carillon/testkit";
import { WebSocket } from "ws";

export const SECRET = "a-secret-of-the-churn-with-32-characters";

type Visit = (url: string, token: string) => Promise<void>;

const PATIENCE_MS = 5000;
const GARBAGE = [
  "42[",
  '45-1-["x"]',
  "99",
  '451-["x",{"_placeholder":true,"num":0}]',
  "40/nowhere,",
  "\0\0",
  "x".repeat(50_000),
];

export const VISITS: Readonly<Record<string, Visit>> = {
  websocket: (url, token) => stock(url, token, { transports: ["websocket"] }),
  polling: (url, token) => stock(url, token, { transports: ["polling"] }),
  upgrade: (url, token) => stock(url, token, {}),
  refused: (url) => stock(url, "x.y.z", { transports: ["websocket"] }),
  resumes: async (url, token) => {
    const client = connect(url, "/channels", { transports: ["websocket"], auth: { token }, reconnectionDelay: 10 });
    await within(client.ready);
    await within(client.ask("subscribe", { channel: "chat" }));
    client.socket.io.engine?.close();
    await within(client.next("ready", undefined, PATIENCE_MS));
    client.close();
  },
  vanishes: async (url, token) => {
    const socket = await raw(url);
    socket.send(`40/trips,{"token":"${token}"}`);
    await sleep(20 + Math.random() * 100);
    socket.terminate();
  },
  garbage: async (url, token) => {
    const socket = await raw(url);
    if (Math.random() < 0.5) socket.send(`40/channels,{"token":"${token}"}`);
    await sleep(30);
    for (const frame of GARBAGE) if (socket.readyState === WebSocket.OPEN) socket.send(frame);
    await sleep(50);
    socket.terminate();
  },
  floods: async (url, token) => {
    const socket = await raw(url);
    socket.send(`40/channels,{"token":"${token}"}`);
    await sleep(50);
    for (let i = 0; i < 300 && socket.readyState === WebSocket.OPEN; i++) {
      socket.send(`42/channels,${i}["${i % 2 === 0 ? "subscribe" : "nonsense"}",{"channel":"c${i % 150}"}]`);
    }
    await sleep(100);
    socket.terminate();
  },
  "half a handshake": async (url) => {
    await fetch(`${url}/socket.io/?EIO=4&transport=polling`, { signal: AbortSignal.timeout(PATIENCE_MS) }).then(
      (answer) => answer.text(),
    );
  },
};

/** Connects to three namespaces of one transport, subscribes, joins, publishes, hears and goes. */
async function stock(url: string, token: string, options: ConnectOptions): Promise<void> {
  const client = connect(url, "/channels", { reconnection: false, timeout: PATIENCE_MS, ...options, auth: { token } });
  const others = ["/trips", "/notifications"].map((name) => client.socket.io.socket(name, { auth: { token } }));
  if (await within(client.ready)) {
    await within(client.ask("subscribe", { channel: "chat" }));
    await within(client.ask("join", { channel: "chat", room: `r${Math.floor(Math.random() * 100)}` }));
    await within(client.ask("publish", { channel: "chat", payload: { at: Date.now() } }));
    await within(client.ask("auth:refresh", { token }));
    await sleep(Math.random() * 200);
  }
  for (const other of others) other.disconnect();
  client.close();
}

/** Whether it happened; who is refused or too late just goes. */
function within(promise: Promise<unknown>): Promise<boolean> {
  return Promise.race([
    promise.then(
      () => true,
      () => false,
    ),
    sleep(PATIENCE_MS, false, { ref: false }),
  ]);
}

async function raw(url: string): Promise<WebSocket> {
  const socket = new WebSocket(`${url.replace("http", "ws")}/socket.io/?EIO=4&transport=websocket`);
  socket.on("error", () => {});
  await within(new Promise((resolve) => socket.once("open", resolve).once("close", resolve)));
  return socket;
}

/** Of a user who may do everything. */
export function tokenFor(user: string): string {
  const part = (value: object) => Buffer.from(JSON.stringify(value)).toString("base64url");
  const now = Math.floor(Date.now() / 1000);
  const claims = { sub: user, iat: now, exp: now + 86_400, channels: ["*"], publish: ["*"], rooms: ["*"] };
  const text = `${part({ alg: "HS256" })}.${part(claims)}`;
  return `${text}.${createHmac("sha256", SECRET).update(text).digest("base64url")}`;
}
