/** The way from a transport to its client, with the real Engine.IO and `ws`: what is relied on there without being promised. */
import { once } from "node:events";
import { createServer } from "node:http";
import type { AddressInfo, Socket as RawSocket } from "node:net";
import { Server } from "socket.io";
import { afterEach, describe, expect, test, vi } from "vitest";
import { WebSocket } from "ws";
import type { EngineConnection } from "../../src/gateway/engine.ts";
import { eventFrame, type FrameStyle } from "../../src/gateway/frames.ts";
import { type SocketIoTransport, transportOf } from "../../src/gateway/socket-io-transport.ts";
import { idleSocket } from "../../src/gateway/wire.ts";

interface Engine extends EngineConnection {
  sendPacket(type: string): void;
}

const style: FrameStyle = { namespace: "/trips", ownChannel: "trips", ids: "args" };
const frame = (n: number, ids: FrameStyle["ids"] = "args", filling = "") =>
  eventFrame({ ...style, ids }, "refresh", JSON.stringify({ n, filling }), `1-${n}`);
const numbers = (received: readonly string[]) =>
  received.flatMap((text) => [...text.matchAll(/"n":(\d+)/g)].map(([, n]) => Number(n)));
const upTo = (count: number) => Array.from({ length: count }, (_, n) => n + 1);

const cleanUps: (() => unknown)[] = [];
afterEach(async () => {
  for (const cleanUp of cleanUps.splice(0).reverse()) await cleanUp();
});

async function serve(options: object = {}) {
  const http = createServer();
  const io = new Server(http, { pingInterval: 600_000, ...options });
  io.of("/trips");
  http.listen(0, "127.0.0.1");
  await once(http, "listening");
  cleanUps.push(() => io.close());
  const url = `127.0.0.1:${(http.address() as AddressInfo).port}/socket.io/?EIO=4`;
  const connected = new Promise<Engine>((resolve) => io.engine.once("connection", resolve));
  return { url, connected };
}

/** One WebSocket client and the server's end of it. */
async function webSocket(options: object = {}): Promise<{
  client: WebSocket;
  received: string[];
  engine: Engine;
  transport: SocketIoTransport;
  raw: RawSocket;
}> {
  const { url, connected } = await serve(options);
  const client = new WebSocket(`ws://${url}&transport=websocket`);
  const received: string[] = [];
  client.on("message", (data) => received.push(String(data)));
  cleanUps.push(() => client.terminate());
  const engine = await connected;
  const transport = transportOf(engine);
  await vi.waitFor(() => expect(received.splice(0)).toHaveLength(1));
  await vi.waitFor(() => expect(transport.drained).toBe(true));
  return { client, received, engine, transport, raw: idleSocket(engine) ?? expect.fail("the short way is closed") };
}

describe("an idle WebSocket", () => {
  test("is written to directly, whatever comes up in one turn as one write", async () => {
    const { received, engine, transport, raw } = await webSocket();
    const flushed = vi.fn();
    engine.on("flush", flushed);
    const write = vi.spyOn(raw, "write");

    for (const n of upTo(10)) transport.write(frame(n));

    await vi.waitFor(() => expect(numbers(received)).toEqual(upTo(10)));
    expect(received[0]).toBe('42/trips,["refresh",{"n":1,"filling":""},"1-1"]');
    expect(write).toHaveBeenCalledTimes(1);
    expect(flushed).not.toHaveBeenCalled();
  });

  test("gets an event and the offset that belongs to it in one write, so that no cut comes between them", async () => {
    const { received, transport, raw } = await webSocket();
    const write = vi.spyOn(raw, "write");

    transport.write(frame(1, "event"));

    await vi.waitFor(() => expect(received).toHaveLength(2));
    expect(received[1]).toBe('42/trips,["offset","1-1"]');
    expect(write).toHaveBeenCalledTimes(1);
  });

  test("that stops reading counts what it was sent until it has left, and tells when it can be written to again", async () => {
    const { client, received, transport } = await webSocket();
    const filling = "x".repeat(100_000);
    client.pause();

    let written = 0;
    await vi.waitFor(() => {
      for (let i = 0; i < 10; i++) transport.write(frame(++written, "args", filling));
      transport.flush();
      expect(transport.unsentBytes).toBeGreaterThan(2_000_000);
    });
    const ready = vi.fn();
    const stop = transport.onReady(ready);
    expect(transport.drained).toBe(false);
    client.resume();

    await vi.waitFor(() => expect(numbers(received)).toEqual(upTo(written)), { timeout: 10_000 });
    await vi.waitFor(() => expect(transport.drained).toBe(true));
    expect(transport.unsentBytes).toBe(0);
    expect(ready).toHaveBeenCalled();
    stop();
  });

  test("tells those who wait for it also when everything has left at once", async () => {
    const { transport } = await webSocket();
    transport.write(frame(1));
    expect(transport.drained).toBe(false);

    await new Promise<void>((resolve) => transport.onReady(resolve));

    expect(transport.drained).toBe(true);
    expect(transport.unsentBytes).toBe(0);
  });

  test("that closes in the same turn loses nothing that was written before", async () => {
    const { client, received, transport } = await webSocket();

    transport.write(frame(1));
    transport.close();

    await once(client, "close");
    expect(numbers(received)).toEqual([1]);
  });

  test("that has closed is written nothing, and nothing counts", async () => {
    const { client, engine, transport } = await webSocket();
    client.terminate();
    await vi.waitFor(() => expect(engine.readyState).toBe("closed"));

    transport.write(frame(1));
    transport.flush();

    expect(transport.unsentBytes).toBe(0);
  });
});

test("events, acks and pings go out in the order in which they were handed in", async () => {
  const { received, engine, transport } = await webSocket();

  transport.write(frame(1));
  engine.write('3/trips,1["ack"]', {});
  transport.write(frame(2));
  const mark = transport.mark;
  engine.sendPacket("ping");
  transport.write(frame(3));

  await vi.waitFor(() => expect(numbers(received)).toEqual([1, 2, 3]));
  expect(received.map((text) => /ack|^2$|"n":\d/.exec(text)?.[0])).toEqual(['"n":1', "ack", '"n":2', "2", '"n":3']);
  expect(transport.arrived(mark)).toBe(false);
});

test("with compression the ordinary way is taken", async () => {
  const { url, connected } = await serve({ perMessageDeflate: { threshold: 0 } });
  const client = new WebSocket(`ws://${url}&transport=websocket`);
  cleanUps.push(() => client.terminate());
  const received: string[] = [];
  client.on("message", (data) => received.push(String(data)));
  const engine = await connected;
  const transport = transportOf(engine);
  await vi.waitFor(() => expect(transport.drained).toBe(true));

  expect(idleSocket(engine)).toBeUndefined();
  for (const n of upTo(5)) transport.write(frame(n));

  await vi.waitFor(() => expect(numbers(received)).toEqual(upTo(5)));
});

describe("a polling client", () => {
  test("gets a turn's events in one answer, an event and its offset too", async () => {
    const { url, connected } = await serve();
    const open = await (await fetch(`http://${url}&transport=polling`)).text();
    const { sid } = JSON.parse(open.slice(1)) as { sid: string };
    const transport = transportOf(await connected);
    const poll = fetch(`http://${url}&transport=polling&sid=${sid}`).then((response) => response.text());
    await vi.waitFor(() => expect(transport.engine.transport.writable).toBe(true));

    transport.write(frame(1, "event"));
    transport.write(frame(2, "event"));

    const packets = (await poll).split("\u001e");
    expect(packets).toHaveLength(4);
    expect(packets[3]).toBe('42/trips,["offset","1-2"]');
  });

  test("that upgrades in a stream of events gets them all, in order and once", async () => {
    const { url, connected } = await serve();
    const open = await (await fetch(`http://${url}&transport=polling`)).text();
    const { sid } = JSON.parse(open.slice(1)) as { sid: string };
    const engine = await connected;
    const transport = transportOf(engine);
    const received: string[] = [];
    let sent = 0;
    const stream = setInterval(() => {
      for (let i = 0; i < 3; i++) transport.write(frame(++sent));
    }, 1);
    cleanUps.push(() => clearInterval(stream));

    const poll = async () =>
      received.push(...(await (await fetch(`http://${url}&transport=polling&sid=${sid}`)).text()).split("\u001e"));
    await poll();
    const client = new WebSocket(`ws://${url}&transport=websocket&sid=${sid}`);
    cleanUps.push(() => client.terminate());
    await once(client, "open");
    const probed = once(client, "message");
    const last = poll();
    client.send("2probe");
    await probed;
    await last;
    client.on("message", (data) => received.push(String(data)));
    client.send("5");
    await vi.waitFor(() => expect(engine.transport.name).toBe("websocket"));
    const sentByThen = sent;
    await vi.waitFor(() => expect(sent).toBeGreaterThan(sentByThen + 100));
    clearInterval(stream);

    await vi.waitFor(() => expect(numbers(received)).toEqual(upTo(sent)));
    expect(transport.unsentBytes).toBe(0);
  });
});
