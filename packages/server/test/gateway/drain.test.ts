import { noLogger, noMeter } from "@carillon/core";
import { expect, test } from "vitest";
import { drain, stopInOrder } from "../../src/drain.ts";

test("the steps of a stop run in order, and one that hangs or fails stops none of the others", async () => {
  const ran: string[] = [];
  const startedAt = performance.now();

  await stopInOrder(
    [
      ["first", () => void ran.push("first")],
      ["hangs", () => new Promise(() => ran.push("hangs"))],
      ["fails", () => Promise.reject(new Error("away"))],
      [
        "throws",
        () => {
          throw new Error("away");
        },
      ],
      ["last", async () => void ran.push("last")],
    ],
    performance.now() + 400,
    noLogger,
  );

  expect(ran).toEqual(["first", "hangs", "last"]);
  expect(performance.now() - startedAt).toBeLessThan(400);
});

test("a drain ends in time when clients never leave and publications are never answered", async () => {
  let terminated = false;
  const asked: boolean[] = [];
  const transports = {
    closeSome: (_count: number, patient: boolean) => void asked.push(patient),
    terminateAll: () => {
      terminated = true;
    },
    open: 5,
  };
  const startedAt = performance.now();

  await drain({ timeoutMs: 1000, delayMs: 100_000, transports, inFlight: () => 1, meter: noMeter, logger: noLogger });

  expect(performance.now() - startedAt).toBeLessThan(1000);
  expect(terminated).toBe(true);
});
