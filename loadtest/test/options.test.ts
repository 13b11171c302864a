import { expect, test } from "vitest";
import { type Options, readOptions } from "../chaos/options.ts";
import { UsageError } from "../command-line.ts";

const read = (...args: string[]): Options => {
  const options = readOptions(args);
  if ("print" in options) throw new Error("that only prints");
  return options;
};

test("by default every scenario is played with 3 nodes and 300 clients for a minute", () => {
  const options = read();

  expect(options).toMatchObject({ nodes: 3, clients: 300, seconds: 60, rate: 50, short: false, baseline: false });
  expect(options.scenarios.map(({ name }) => name)).toContain("random");
});

test("the short form has fewer clients and less time, and says which it was given", () => {
  expect(read("--short")).toMatchObject({ clients: 30, seconds: 8 });
  expect(read("--short", "--clients", "50")).toMatchObject({ clients: 50, seconds: 8 });
});

test("scenarios are played in the order in which they are named", () => {
  const { scenarios } = read("--scenario", "scale,node-sigkill");

  expect(scenarios.map(({ name }) => name)).toEqual(["scale", "node-sigkill"]);
});

test("against a deployment of one's own only harmless scenarios are played", () => {
  const { scenarios, postgres } = read("--url", "http://127.0.0.1:3000");

  expect(scenarios.map(({ name }) => name)).toEqual(["publishers", "client-flaps", "stopped-readers"]);
  expect(postgres).toBe(false);
  expect(() => read("--url", "http://127.0.0.1:3000", "--scenario", "node-sigkill")).toThrow(UsageError);
});

test("without Postgres nothing is played that breaks it", () => {
  const names = read("--no-postgres").scenarios.map(({ name }) => name);

  expect(names.filter((name) => name.includes("postgres"))).toEqual([]);
  expect(() => read("--no-postgres", "--scenario", "cut-postgres")).toThrow(UsageError);
});

test.each([
  ["--scenario", "no-such"],
  ["--nodes", "1"],
  ["--clients", "many"],
  ["--seconds", "-1"],
  ["--no-such"],
  ["--redis", "redis://127.0.0.1"],
  ["--url", "nowhere"],
  ["--url", "http://127.0.0.1:1", "--baseline"],
])("%s %s is refused", (...args) => {
  expect(() => readOptions(args)).toThrow(UsageError);
});
