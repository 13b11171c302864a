import { expect, test } from "vitest";
import { SocketIoTransport } from "../../src/gateway/socket-io-transport.ts";
import { FakeEngine } from "./fakes.ts";

function stalled() {
  const engine = new FakeEngine();
  engine.reads = false;
  return { engine, transport: new SocketIoTransport(engine) };
}

test("what is buffered and what is on its way count until it has left", () => {
  const { engine, transport } = stalled();

  engine.write("12345", {});
  engine.write("1234567", { bytes: 100 });
  expect(transport.unsentBytes).toBe(105);
  expect(transport.drained).toBe(false);

  engine.sent();
  expect(transport.unsentBytes).toBe(100);
  engine.sent();
  expect(transport.unsentBytes).toBe(0);
  expect(transport.drained).toBe(true);
});

test("a connection that is always a little behind does not add up to one that is far behind", () => {
  const { engine, transport } = stalled();

  for (let n = 0; n < 1000; n++) {
    engine.write("x".repeat(100), {});
    engine.sent();
  }

  expect(transport.unsentBytes).toBeLessThanOrEqual(100);
});

test("what was buffered on one transport goes on with the one that it was upgraded to", () => {
  const { engine, transport } = stalled();
  engine.write("x".repeat(100), {});
  engine.write("x".repeat(50), {});

  engine.transport = new FakeEngine().transport;
  engine.sent();
  expect(transport.unsentBytes).toBe(50);
  engine.sent();
  expect(transport.unsentBytes).toBe(0);
});

test("an answered ping proves the arrival of what was written before it, and of nothing later", () => {
  const engine = new FakeEngine();
  const transport = new SocketIoTransport(engine);
  const before = transport.mark;
  engine.ping();
  const after = transport.mark;

  expect(transport.arrived(before)).toBe(false);
  engine.emit("heartbeat");
  expect(transport.arrived(before)).toBe(true);
  expect(transport.arrived(after)).toBe(false);
  engine.ping();
  expect(transport.arrived(after)).toBe(false);
  engine.emit("heartbeat");
  expect(transport.arrived(after)).toBe(true);
});
