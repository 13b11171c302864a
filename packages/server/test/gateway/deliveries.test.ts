import { describe, expect, test, vi } from "vitest";
import type { Connection } from "../../src/gateway/connection.ts";
import { Deliveries } from "../../src/gateway/deliveries.ts";
import { eventFrame, type FrameStyle } from "../../src/gateway/frames.ts";
import { connectionOf, random } from "./fakes.ts";

function deliveries(options: { sliceSize?: number; maxWaiting?: number; highWaterMarkBytes?: number } = {}) {
  const slow: Connection[] = [];
  const made = new Deliveries({
    sliceSize: 10,
    highWaterMarkBytes: 1000,
    onSlow: (connection) => {
      connection.state = "behind";
      slow.push(connection);
    },
    onWritten: () => {},
    ...options,
  });
  const push = (n: number, targets: readonly Connection[]) =>
    made.push({
      position: { epoch: 1, n },
      follows: true,
      targets,
      encode: (style: FrameStyle) => eventFrame(style, "refresh", "{}", `1-${n}`),
    });
  return { made, push, slow };
}

const turn = () => new Promise((resolve) => setImmediate(resolve));
const idsOf = (written: readonly string[]) => written.map((text) => Number(/1-(\d+)"\]$/.exec(text)![1]));

test.each([1, 2, 3, 4, 5])(
  "every connection is written all that is for it, in order and once, however it is sliced (seed %i)",
  async (seed) => {
    const { below, some } = random(seed);
    const { made, push } = deliveries({ sliceSize: 1 + below(20), highWaterMarkBytes: 1e9 });
    const connections = Array.from({ length: 30 }, (_, n) => connectionOf({ id: `${n}` }));
    const meant = new Map(connections.map((connection) => [connection, [] as number[]]));

    for (let n = 1; n <= 300; n++) {
      const targets = below(3) === 0 ? connections : some(connections);
      for (const connection of targets) meant.get(connection)!.push(n);
      push(n, targets);
      if (below(5) === 0) await turn();
    }
    while (made.waiting > 0) await turn();

    for (const connection of connections) expect(idsOf(connection.fake.written)).toEqual(meant.get(connection));
  },
);

test("no more is written in one turn of the event loop than a slice, by many small publications either", async () => {
  const { made, push } = deliveries({ sliceSize: 10 });
  const connections = Array.from({ length: 4 }, (_, n) => connectionOf({ id: `${n}` }));

  for (let n = 1; n <= 50; n++) push(n, connections);

  const written = () => connections.reduce((sum, { fake }) => sum + fake.written.length, 0);
  expect(written()).toBe(10);
  await turn();
  expect(written()).toBe(20);
  expect(made.waiting).toBe(180);
});

test("a connection that caught up past what waits is not written it again", async () => {
  const { made, push } = deliveries({ sliceSize: 1 });
  const [first, second] = [connectionOf({ id: "1" }), connectionOf({ id: "2" })];
  push(1, [first, second]);
  push(2, [first, second]);
  second.moveTo({ epoch: 1, n: 1 });

  while (made.waiting > 0) await turn();

  expect(idsOf(first.fake.written)).toEqual([1, 2]);
  expect(idsOf(second.fake.written)).toEqual([2]);
});

describe("over its high-water mark", () => {
  test("a connection is not written, and only that one", () => {
    const { push, slow } = deliveries({ sliceSize: 1000, highWaterMarkBytes: 200 });
    const [reads, stalls] = [connectionOf({ id: "1" }), connectionOf({ id: "2" })];
    stalls.fake.reads = false;

    for (let n = 1; n <= 50; n++) push(n, [stalls, reads]);

    expect(slow).toEqual([stalls]);
    expect(stalls.transport.unsentBytes).toBeLessThan(300);
    expect(idsOf(reads.fake.written)).toHaveLength(50);
    expect(stalls.position.n).toBeLessThan(20);
  });
});

test("one that heard nothing for long and finds its transport full is as far as what it was just not written", () => {
  const { push, slow } = deliveries();
  const connection = connectionOf({ id: "1" });
  connection.fake.reads = false;
  connection.fake.write("x".repeat(2000), { bytes: 2000 });

  push(500, [connection]);

  expect(slow).toEqual([connection]);
  expect(connection.position).toEqual({ epoch: 1, n: 499 });
});

test("what this node can't keep up with goes to catching up instead of memory", () => {
  const encode = vi.fn();
  const { made, push, slow } = deliveries({ sliceSize: 1, maxWaiting: 100 });
  const connections = Array.from({ length: 50 }, (_, n) => connectionOf({ id: `${n}` }));

  for (let n = 1; n <= 10; n++) push(n, connections);

  expect(made.waiting).toBeLessThanOrEqual(100);
  expect(slow).toHaveLength(50);
  expect(encode).not.toHaveBeenCalled();
});

test("a channel that was left by its turn is not heard, and one that was come to again only from there on", async () => {
  const { made } = deliveries({ sliceSize: 1 });
  const style = { namespace: "/channels", ownChannel: undefined, ids: "args" } as const;
  const [first, left, again] = ["a", "b", "c"].map((id) => connectionOf({ id, style, channels: ["chat"] }));
  const all = [first!, left!, again!];
  for (let n = 1; n <= 3; n++)
    made.push({
      position: { epoch: 1, n },
      channel: "chat",
      follows: true,
      targets: all,
      encode: (of) => eventFrame(of, "notification", "{}", `1-${n}`),
    });

  left!.channels.delete("chat");
  again!.channels.set("chat", { release: () => {}, active: true, recovered: true, from: { epoch: 1, n: 2 } });
  while (made.waiting > 0) await turn();

  expect(all.map(({ fake }) => idsOf(fake.written))).toEqual([[1, 2, 3], [], [3]]);
});
