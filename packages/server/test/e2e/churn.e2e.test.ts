import { spawn } from "node:child_process";
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";

const main = fileURLToPath(new URL("../../../../loadtest/churn/main.ts", import.meta.url));

/** The short form of `npm run churn`, which is to run ten minutes with 200 clients. */
test("clients that come, misbehave and go leave nothing behind", async () => {
  const child = spawn(process.execPath, [main, "--seconds", "40", "--clients", "60", "--rounds", "4"], {
    stdio: ["ignore", "pipe", "pipe"],
  });
  let output = "";
  for (const stream of [child.stdout, child.stderr])
    stream.on("data", (data) => {
      output += String(data);
    });
  const code = await new Promise((resolve) => child.once("exit", resolve));

  expect(output).toContain("Nothing was left behind.");
  expect(code).toBe(0);
});
