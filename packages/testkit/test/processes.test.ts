import { expect, test } from "vitest";
import { Service, waitFor } from "../src/index.ts";

test("a service that ends at its start says with what code and what it wrote", async () => {
  const service = shell("echo no config >&2; exit 3");

  await expect(service.start()).rejects.toThrow(/ended at its start: exit code 3[\s\S]*no config/);
});

test("a program that is not there is an error of its start", async () => {
  const service = new Service({ name: "nothing", command: "/no/such/program", args: [], ready: () => false });

  await expect(service.start()).rejects.toThrow("nothing ended at its start");
});

test("stop kills what ignores its signal, and what is frozen", async () => {
  const stubborn = shell("trap '' TERM; echo up; while :; do sleep 0.05; done");
  await stubborn.start();
  const frozen = shell("echo up; exec sleep 60");
  await frozen.start();
  frozen.freeze();

  expect(await stubborn.stop(200)).toEqual({ code: null, signal: "SIGKILL" });
  expect(await frozen.stop()).toEqual({ code: null, signal: "SIGTERM" });
});

test("a service does not outlive the process that started it, even when that is killed", async () => {
  const testkit = new URL("../src/index.ts", import.meta.url).href;
  const script = `
    const { Service } = await import(${JSON.stringify(testkit)});
    const inner = new Service({ name: "inner", command: "sleep", args: ["60"], ready: () => true });
    await inner.start();
    console.log("inner", inner.pid);
    setInterval(() => {}, 1000);`;
  const outer = new Service({
    name: "outer",
    command: process.execPath,
    args: ["--input-type=module", "-e", script],
    ready: ({ output }) => output.includes("inner"),
  });
  await outer.start();
  const inner = Number(/inner (\d+)/.exec(outer.output)?.[1]);

  await outer.kill("SIGKILL");

  await waitFor(() => !isAlive(inner), { what: "the inner process to end" });
});

function shell(script: string): Service {
  return new Service({
    name: "a script",
    command: "sh",
    args: ["-c", script],
    ready: ({ output }) => output.includes("up"),
  });
}

function isAlive(pid: number): boolean {
  try {
    return process.kill(pid, 0);
  } catch {
    return false;
  }
}
