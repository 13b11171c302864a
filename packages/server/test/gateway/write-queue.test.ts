import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { expect, onTestFinished, test } from "vitest";
import { Batch } from "../../src/gateway/batch.ts";
import { eventFrame } from "../../src/gateway/frames.ts";
import { WriteQueue } from "../../src/gateway/write-queue.ts";

const frame = (n: number) =>
  eventFrame({ namespace: "/trips", ownChannel: "trips", ids: "event" }, "refresh", `{"n":${n}}`, `1-${n}`);
const busy = () => {
  for (const until = performance.now() + 0.2; performance.now() < until; );
};
const turn = () => new Promise((resolve) => setImmediate(resolve));

test("what many are to write at once is written in slices, and everything else gets its turn in between", async () => {
  const writeQueue = new WriteQueue();
  let written = 0;
  const write = () => {
    busy();
    written++;
  };
  for (let i = 0; i < 200; i++) writeQueue.add({ flush: write });
  const seen: number[] = [];

  expect(written).toBe(0);
  while (written < 200) {
    await turn();
    seen.push(written);
  }

  expect(seen.length).toBeGreaterThan(2);
  expect(seen[0]).toBeLessThan(100);
});

test("who has something to write again while others wait comes after them", async () => {
  const writeQueue = new WriteQueue();
  const order: string[] = [];
  writeQueue.add({
    flush: () => {
      order.push("a");
      if (order.length < 3) writeQueue.add({ flush: () => order.push("a again") });
    },
  });
  writeQueue.add({ flush: () => order.push("b") });

  while (order.length < 3) await turn();

  expect(order).toEqual(["a", "b", "a again"]);
});

test("what was written is let go of on a node that is never done", async () => {
  setFlagsFromString("--expose-gc");
  const gc: () => void = runInNewContext("gc");
  const writeQueue = new WriteQueue();
  let over = false;
  onTestFinished(() => {
    over = true;
  });
  const add = () => {
    const writer = {
      flush: () => {
        busy();
        if (!over) add();
      },
    };
    writeQueue.add(writer);
    return new WeakRef(writer);
  };
  const early = Array.from({ length: 200 }, add);

  for (let i = 0; i < 20; i++) await turn();
  gc();

  expect(early.filter((writer) => writer.deref() !== undefined)).toEqual([]);
});

test("those who were handed the same have the same batch, and its bytes are put together once", () => {
  const nothing = new Batch();
  const [first, second, other] = [frame(1), frame(2), frame(3)];

  const one = nothing.with(first).with(second);
  const two = nothing.with(first).with(second);
  const three = nothing.with(first).with(other);

  expect(two).toBe(one);
  expect(two.wire).toBe(one.wire);
  expect(three.packets).toEqual([...first, ...other]);
  expect(one.wire).toEqual(Buffer.concat([...first, ...second].flatMap(({ options }) => options.wsPreEncodedFrame)));
  expect(one.bytes).toBe([...first, ...second].reduce((sum, { options }) => sum + options.bytes, 0));
});
