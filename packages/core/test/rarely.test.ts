import { expect, test } from "vitest";
import { Rarely } from "../src/rarely.ts";

test("one line per key and interval, the next one with the number held back", () => {
  let now = 0;
  const rarely = new Rarely(60_000, () => now);
  const said: [string, number][] = [];
  const say = (key: string) => rarely.say(key, (heldBack) => said.push([key, heldBack]));

  for (let i = 0; i < 10; i++) say("a");
  say("b");
  now = 60_000;
  say("a");

  expect(said).toEqual([
    ["a", 0],
    ["b", 0],
    ["a", 9],
  ]);
});

test("a hundred thousand keys take bounded memory", () => {
  const rarely = new Rarely(60_000, () => 0);

  for (let i = 0; i < 100_000; i++) rarely.say(`key ${i}`, () => {});

  expect(rarely.size).toBeLessThanOrEqual(1000);
});
