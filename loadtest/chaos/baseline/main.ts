/**
 * A node of the stack that people build today, put together from its own documentation: Socket.IO with `@socket.io/redis-adapter`
 * and connection state recovery switched on, Redis channels heard by every node and emitted locally, and a LISTEN connection per
 * node, emitted locally too.
 */
import { createServer, type IncomingMessage } from "node:http";
import { createAdapter } from "@socket.io/redis-adapter";
import { Redis } from "ioredis";
import pg from "pg";
import { Server } from "socket.io";

const { PORT, REDIS_URL, REDIS_SENTINELS, REDIS_SENTINEL_NAME, DATABASE_URL, PING_INTERVAL_MS, PING_TIMEOUT_MS } =
  process.env;
const refreshNamespaces = ["trips", "notifications"];
const listenRetryMs = 1_000;

const redis = connectRedis();
const subscriber = redis.duplicate();
for (const client of [redis, subscriber]) client.on("error", (error: Error) => log("redis", { error: error.message }));

const http = createServer((request, response) => {
  const answer = (status: number, body: object) =>
    response.writeHead(status, { "content-type": "application/json" }).end(JSON.stringify(body));
  bodyOf(request).then(
    (body) => answer(202, { ok: publish(request.url ?? "", body) }),
    () => answer(400, {}),
  );
});
const io = new Server(http, {
  adapter: createAdapter(redis, subscriber),
  connectionStateRecovery: {},
  ...(PING_INTERVAL_MS !== undefined && { pingInterval: Number(PING_INTERVAL_MS) }),
  ...(PING_TIMEOUT_MS !== undefined && { pingTimeout: Number(PING_TIMEOUT_MS) }),
});

for (const name of refreshNamespaces) {
  io.of(`/${name}`).on("connection", (socket) => {
    void socket.join(`user:${socket.handshake.auth.user}`);
    socket.on("join", ({ room }: { room: string }, ack: (answer: object) => void) => {
      void socket.join(room);
      ack({ ok: true });
    });
  });
}
io.of("/channels").on("connection", (socket) => {
  socket.on("subscribe", ({ channel }: { channel: string }, ack: (answer: object) => void) => {
    void socket.join([channel, personal(channel, `user:${socket.handshake.auth.user}`)]);
    ack({ ok: true });
  });
  socket.on("publish", ({ channel, payload }: { channel: string; payload: unknown }, ack: (answer: object) => void) => {
    message(channel, payload);
    ack({ ok: true });
  });
});

await hearRedis();
if (DATABASE_URL !== undefined) await hearPostgres(DATABASE_URL);
http.listen(Number(PORT), "127.0.0.1", () => log("listening", { port: Number(PORT) }));
process.on("SIGTERM", () => {
  void io.close().then(() => process.exit(0));
});

function publish(path: string, body: unknown): boolean {
  const [, , kind, name = ""] = path.split("/");
  if (kind === "refresh") {
    const { scope, to, payload } = body as {
      scope: string;
      to?: { users?: string[]; rooms?: string[] };
      payload?: unknown;
    };
    const rooms = [...(to?.users ?? []).map((user) => `user:${user}`), ...(to?.rooms ?? [])];
    const nsp = io.of(`/${name}`);
    (rooms.length > 0 ? nsp.to(rooms) : nsp).emit("refresh", { type: "REFRESH", scope, payload });
    const heardBy = rooms.length > 0 ? rooms.map((room) => personal(name, room)) : name;
    io.of("/channels").to(heardBy).emit("refresh", { type: "REFRESH", scope, payload, channel: name });
  } else if (kind === "notifications") message(name, body);
  else
    for (const one of (body as { publications: { channel: string; payload: unknown }[] }).publications)
      message(one.channel, one.payload);
  return true;
}

function message(channel: string, payload: unknown): void {
  io.of("/channels").to(channel).emit("notification", { channel, payload, timestamp: new Date().toISOString() });
}

function personal(channel: string, room: string): string {
  return `${channel} ${room}`;
}

/** Every node hears it, so every node tells its own sockets only. */
function localRefresh(name: string, scope: string): void {
  io.of(`/${name}`).local.emit("refresh", { type: "REFRESH", scope });
  io.of("/channels").local.to(name).emit("refresh", { type: "REFRESH", scope, channel: name });
}

async function hearRedis(): Promise<void> {
  const ingress = redis.duplicate();
  ingress.on("error", () => {});
  const routes: Record<string, string[]> = { "trip.status_changed": refreshNamespaces };
  for (const name of refreshNamespaces)
    for (const channel of [`refresh.${name}`, `${name}.refresh`]) routes[channel] = [name];
  ingress.on("message", (channel: string, text: string) => {
    for (const name of routes[channel] ?? []) localRefresh(name, scopeOf(text));
  });
  await ingress.subscribe(...Object.keys(routes));
}

async function hearPostgres(url: string): Promise<void> {
  const client = new pg.Client({ connectionString: url, application_name: "stock-listener", keepAlive: true });
  const again = () => setTimeout(() => void hearPostgres(url).catch(again), listenRetryMs);
  client.on("notification", ({ channel, payload = "" }) => {
    if (channel.startsWith("refresh.")) localRefresh(channel.slice("refresh.".length), payload);
    else
      io.of("/channels")
        .local.to(channel)
        .emit("notification", { channel, payload: JSON.parse(payload) });
  });
  client.on("error", (error) => {
    log("postgres", { error: error.message });
    void client.end().catch(() => {});
    again();
  });
  await client.connect();
  for (const channel of ["chat", "orders", "refresh.trips", "refresh.notifications"])
    await client.query(`listen "${channel}"`);
}

function scopeOf(text: string): string {
  if (!text.startsWith("{")) return text;
  const message = JSON.parse(text) as { scope?: string; data?: { scope?: string } };
  return message.scope ?? message.data?.scope ?? "";
}

function connectRedis(): Redis {
  if (REDIS_SENTINELS === undefined) return new Redis(REDIS_URL ?? "redis://127.0.0.1:6379");
  const sentinels = REDIS_SENTINELS.split(",").map((address) => {
    const [host = "", port = ""] = address.split(":");
    return { host, port: Number(port) };
  });
  return new Redis({ sentinels, name: REDIS_SENTINEL_NAME ?? "mymaster" });
}

async function bodyOf(request: IncomingMessage): Promise<unknown> {
  const chunks: Buffer[] = [];
  for await (const chunk of request) chunks.push(chunk as Buffer);
  return JSON.parse(Buffer.concat(chunks).toString("utf8"));
}

function log(msg: string, rest: object): void {
  console.log(JSON.stringify({ msg, ...rest }));
}
