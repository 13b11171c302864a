import { spawnSync } from "node:child_process";
import { existsSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { freePort } from "../src/ports.ts";

const claimOf = (port: number) => join(tmpdir(), `carillon-port-${port}`);

/** Has another process ask for a port as if it were this one, so that it begins at the same place. */
function portOfAnother(): number {
  const code = `
    Object.defineProperty(process, "pid", { value: ${process.pid} });
    const { freePort } = await import(${JSON.stringify(new URL("../src/ports.ts", import.meta.url).href)});
    console.log(await freePort());`;
  const { stdout, stderr } = spawnSync(process.execPath, ["--input-type=module", "-e", code], { encoding: "utf8" });
  if (stdout.trim() === "") throw new Error(stderr);
  return Number(stdout);
}

test("a port that was given out is given to no other process, though nothing listens on it yet", async () => {
  const mine = await freePort();

  expect(portOfAnother()).not.toBe(mine);
});

test("a process that ends gives its ports back", () => {
  const port = portOfAnother();

  expect(existsSync(claimOf(port))).toBe(false);
});
