import { once } from "node:events";
import { connect, createServer, type Server, type Socket } from "node:net";
import { afterEach, beforeEach, expect, test } from "vitest";
import { freePort, type NetworkProxy, startProxy, waitFor } from "../src/index.ts";

let echo: Server;
let proxy: NetworkProxy;

beforeEach(async () => {
  const port = await freePort();
  echo = createServer((socket) => void socket.on("error", () => {}).pipe(socket)).listen(port, "127.0.0.1");
  await once(echo, "listening");
  proxy = await startProxy(port);
});

afterEach(async () => {
  await proxy.close();
  echo.close();
});

test("what goes in comes back", async () => {
  const { socket, heard } = await client();

  socket.write("hello");

  await waitFor(() => heard() === "hello", { what: "the echo" });
  expect(proxy.connections).toBe(1);
});

test("a blackhole holds back what was sent, on old and new connections, until it is restored", async () => {
  const old = await client();
  old.socket.write("a");
  await waitFor(() => old.heard() === "a", { what: "the echo" });

  proxy.blackhole();
  const young = await client();
  old.socket.write("b");
  young.socket.write("c");
  await expect(
    waitFor(() => old.heard() + young.heard() !== "a", { what: "a leak", timeoutMs: 200 }),
  ).rejects.toThrow();
  await proxy.restore();

  await waitFor(() => old.heard() === "ab" && young.heard() === "c", { what: "what was held back" });
});

test("a cut proxy resets what is open and refuses what is new", async () => {
  const { socket } = await client();
  const closed = new Promise((resolve) => socket.once("close", resolve));

  await proxy.cut();

  await closed;
  await expect(client()).rejects.toThrow("ECONNREFUSED");
  await proxy.restore();
  await client();
});

async function client(): Promise<{ socket: Socket; heard: () => string }> {
  const socket = connect(proxy.port, "127.0.0.1");
  let text = "";
  socket.on("data", (data) => {
    text += data;
  });
  await once(socket, "connect");
  socket.on("error", () => {});
  return { socket, heard: () => text };
}
