import { expect, test } from "vitest";
import { Batch } from "../../src/gateway/batch.ts";
import { eventFrame } from "../../src/gateway/frames.ts";
import { WriteQueue } from "../../src/gateway/write-queue.ts";

const frame = (n: number) =>
  eventFrame({ namespace: "/trips", ownChannel: "trips", ids: "event" }, "refresh", `{"n":${n}}`, `1-${n}`);
const turn = () => new Promise((resolve) => setImmediate(resolve));

test("what many are to write at once is written in slices, and everything else gets its turn in between", async () => {
  const writeQueue = new WriteQueue();
  let written = 0;
  const busy = () => {
    for (const until = performance.now() + 0.2; performance.now() < until; );
    written++;
  };
  for (let i = 0; i < 200; i++) writeQueue.add({ flush: busy });
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
