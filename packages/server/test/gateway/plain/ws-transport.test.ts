import { EventEmitter } from "node:events";
import type { Socket } from "node:net";
import { expect, test, vi } from "vitest";
import type { WebSocket } from "ws";
import { jsonFrame } from "../../../src/gateway/plain/codec.ts";
import { WsTransport } from "../../../src/gateway/plain/ws-transport.ts";

/** A WebSocket and its socket, which put down in one list what is written to either. */
function transport() {
  const written: string[] = [];
  const socket = {
    writableLength: 0,
    write: (data: Buffer) => written.push(data.subarray(2).toString()),
    destroy: vi.fn(),
  };
  const ws = Object.assign(new EventEmitter(), {
    OPEN: 1,
    readyState: 1,
    ping: (data: string) => written.push(`ping ${data}`),
    close: (code: number, reason: string) => {
      ws.readyState = 2;
      written.push(`close ${code} ${reason}`);
    },
  });
  const made = new WsTransport(ws as unknown as WebSocket, socket as unknown as Socket, {
    everyMs: 100,
    timeoutMs: 50,
  });
  return { transport: made, ws, socket, written };
}

test("what is written in one turn leaves in one piece, and before a ping or a close that comes after it", async () => {
  vi.useFakeTimers({ toFake: ["setTimeout"] });
  const { transport: made, written } = transport();

  made.write(jsonFrame("{1}"));
  vi.advanceTimersByTime(100);
  made.write(jsonFrame("{2}"));
  made.close("DRAINING");
  made.write(jsonFrame("{3}"));
  await new Promise((resolve) => setImmediate(resolve));

  expect(written).toEqual(["{1}", "ping 1", "{2}", "close 4202 DRAINING"]);
  vi.useRealTimers();
});

test("only the answer to a ping proves that what was before it has arrived", () => {
  vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout"] });
  const { transport: made, ws, socket } = transport();
  const { mark } = made;

  ws.emit("pong", Buffer.from("1"));
  expect(made.arrived(mark)).toBe(false);
  vi.advanceTimersByTime(100);
  ws.emit("pong", Buffer.from("7"));
  expect(made.arrived(mark)).toBe(false);
  ws.emit("pong", Buffer.from("1"));
  expect(made.arrived(mark)).toBe(true);
  expect(made.arrived(made.mark)).toBe(false);
  vi.advanceTimersByTime(99);
  expect(socket.destroy).not.toHaveBeenCalled();
  vi.advanceTimersByTime(1 + 50);

  expect(socket.destroy).toHaveBeenCalledOnce();
  vi.useRealTimers();
});

test("what waits for the end of the turn counts as unsent", async () => {
  const { transport: made, socket } = transport();

  made.write(jsonFrame("x".repeat(100)));

  expect([made.unsentBytes >= 100, made.drained]).toEqual([true, false]);
  await new Promise((resolve) => setImmediate(resolve));
  expect([made.unsentBytes, made.drained]).toEqual([0, true]);
  socket.writableLength = 7;
  expect(made.unsentBytes).toBe(7);
});

test.each([
  ["RATE_LIMITED", 4102],
  ["INTERNAL", 4100],
  ["INVALID_ID", 4000],
] as const)("the close code of %s is %i", (why, code) => {
  const { transport: made, written } = transport();

  made.close(why);

  expect(written).toEqual([`close ${code} ${why}`]);
});
