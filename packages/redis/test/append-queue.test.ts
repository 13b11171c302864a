import { type AppendRequest, noMeter } from "@carillon/core";
import type { JsonText } from "@carillon/protocol";
import { expect, test } from "vitest";
import { AppendQueue } from "../src/append-queue.ts";
import { CountingMeter } from "./nodes.ts";

const unavailable = { code: "BUS_UNAVAILABLE", retryAfterS: 1 };
const makeQueue = (timeoutMs = 5_000) => new AppendQueue({ timeoutMs, meter: noMeter });

function request(source?: string, minor = 0, payload = "1"): AppendRequest {
  return {
    draft: { channel: "chat", payload: payload as JsonText },
    ...(source !== undefined && { fence: { source, position: [1, minor] as const } }),
  };
}

/** What became of it; `waits` while it's neither. */
function outcome(answer: Promise<unknown>): Promise<string> {
  return Promise.race([
    answer.then(
      () => "resolved",
      () => "rejected",
    ),
    new Promise<string>((resolve) => setImmediate(resolve, "waits")),
  ]);
}

test("a failed source takes along what waits behind it, and nobody else", async () => {
  const queue = makeQueue();
  const first = queue.add([request("a", 1)]);
  const call = queue.take();
  const [later, other, mixed, tied] = [
    queue.add([request("a", 2)]),
    queue.add([request("b", 1)]),
    queue.add([request("a", 3), request("c", 1)]),
    queue.add([request("c", 2)]),
  ];

  queue.fail(call, new Error("x"));

  expect(await Promise.all([first, later, other, mixed, tied].map(outcome))).toEqual([
    "rejected",
    "rejected",
    "waits",
    "rejected",
    "rejected",
  ]);
  queue.close(new Error("over"));
  expect(await outcome(other)).toBe("rejected");
});

test("the parts of one append fail from the first that failed on", async () => {
  const queue = makeQueue();
  const answer = queue.add(Array.from({ length: 1_200 }, () => request()));
  const part = queue.take();
  expect(part.flatMap(({ requests }) => requests)).toHaveLength(512);

  queue.fail(part, new Error("x"));

  expect(await outcome(answer)).toBe("rejected");
  expect(queue.empty).toBe(true);
});

test("a call holds as much as its bounds allow, and never parts one feed position", async () => {
  const queue = makeQueue();
  const big = JSON.stringify("x".repeat(400_000));
  const answers = [
    queue.add(Array.from({ length: 700 }, () => request("a", 1))),
    queue.add([request(undefined, 0, big), request(undefined, 0, big), request(undefined, 0, big)]),
    ...Array.from({ length: 600 }, () => queue.add([request()])),
  ];
  for (const answer of answers) answer.catch(() => {});

  const sizes = [];
  while (!queue.empty) sizes.push(queue.take().flatMap(({ requests }) => requests).length);

  expect(sizes).toEqual([700, 2, 512, 89]);
  queue.close(new Error("over"));
});

test("what waits too long is told so, in time, with what depends on it", async () => {
  const queue = makeQueue(50);
  const waiting = queue.add([request("a", 1)]);
  const inFlight = queue.take();
  const behind = queue.add([request("a", 2)]);

  await expect(waiting).rejects.toMatchObject(unavailable);
  await expect(behind).rejects.toMatchObject(unavailable);

  expect(inFlight[0]?.settled).toBe(true);
  expect(queue.empty).toBe(true);
});

test("what is too much is refused and counted", async () => {
  const meter = new CountingMeter();
  const queue = new AppendQueue({ timeoutMs: 5_000, meter });
  const answers = Array.from({ length: 50 }, () => queue.add(Array.from({ length: 1_000 }, () => request())));
  for (const answer of answers) answer.catch(() => {});

  await expect(queue.add([request()])).rejects.toMatchObject(unavailable);
  await expect(queue.add([request()])).rejects.toMatchObject(unavailable);

  expect(meter.counts.get("drops append_queue")).toBe(2);
  queue.take();
  expect(await outcome(queue.add([request()]))).toBe("waits");
  queue.close(new Error("over"));
});
