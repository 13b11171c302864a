/** What the real Engine.IO and Socket.IO hold of a handshake. */
import { once } from "node:events";
import { createServer, type IncomingMessage } from "node:http";
import type { AddressInfo } from "node:net";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { Server } from "socket.io";
import { expect, onTestFinished, test, vi } from "vitest";
import { WebSocket } from "ws";
import { forgetHandshake, forgetRequest } from "../../src/gateway/handshakes.ts";
import { attachWithGate } from "../../src/gateway/io-server.ts";

setFlagsFromString("--expose_gc");
const collectGarbage = runInNewContext("gc") as () => void;

async function serve() {
  const http = createServer();
  // As with CORS, which waits for a turn before it goes on.
  const io = new Server({ path: "/socket.io/", cors: { origin: "*" } });
  attachWithGate(io, http, { refuse: () => undefined, allows: () => true });
  io.engine.on("connection", forgetRequest);
  const requests: WeakRef<IncomingMessage>[] = [];
  http.on("upgrade", (request) => void requests.push(new WeakRef(request)));
  http.listen(0, "127.0.0.1");
  await once(http, "listening");
  onTestFinished(() => void io.close());
  return { io, requests, url: `ws://127.0.0.1:${(http.address() as AddressInfo).port}/socket.io/?EIO=4` };
}

function connect(url: string): { client: WebSocket; received: string[] } {
  const client = new WebSocket(`${url}&transport=websocket`, {
    headers: { cookie: "session=1", "x-long": "x".repeat(1000) },
  });
  const received: string[] = [];
  client.on("message", (data) => received.push(String(data)));
  onTestFinished(() => client.terminate());
  return { client, received };
}

test("an idle connection doesn't hold the request that it came with", async () => {
  const { io, requests, url } = await serve();
  io.of("/trips").on("connection", forgetHandshake);
  const { client, received } = connect(url);
  await vi.waitFor(() => expect(received).toHaveLength(1));
  client.send('40/trips,{"token":"secret"}');
  await vi.waitFor(() => expect(received[1]).toMatch(/^40\/trips,/));

  await vi.waitFor(() => {
    collectGarbage();
    expect(requests.map((request) => request.deref())).toEqual([undefined]);
  });

  expect(client.readyState).toBe(WebSocket.OPEN);
  expect(JSON.stringify([...io.of("/trips").sockets.values()].map(({ handshake }) => handshake))).not.toContain(
    "secret",
  );
});

test("a namespace that is entered later still sees what authentication reads", async () => {
  const { io, url } = await serve();
  const seen: unknown[] = [];
  io.of("/trips").use((socket, next) => {
    seen.push(socket.handshake.headers, socket.handshake.auth);
    next();
  });
  const { client, received } = connect(url);
  await vi.waitFor(() => expect(received).toHaveLength(1));

  client.send('40/trips,{"token":"secret"}');

  await vi.waitFor(() => expect(received[1]).toMatch(/^40\/trips,/));
  expect(seen).toEqual([{ cookie: "session=1", host: expect.stringContaining("127.0.0.1") }, { token: "secret" }]);
});

test("a client that goes away closes its socket and its connection all the same", async () => {
  const { io, url } = await serve();
  const { client, received } = connect(url);
  await vi.waitFor(() => expect(received).toHaveLength(1));

  client.terminate();

  await vi.waitFor(() => expect(io.engine.clientsCount).toBe(0));
});
