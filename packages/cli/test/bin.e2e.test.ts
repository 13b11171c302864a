import { execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { api, freePort, Service, waitFor } from "@carillon/testkit";
import { expect, onTestFinished, test } from "vitest";

const bin = fileURLToPath(new URL("../bin/carillon.mjs", import.meta.url));
const runFile = promisify(execFile);
const { PATH = "", HOME = "" } = process.env;

/** What a machine may have beside the Node that is pinned: an older one can't run TypeScript. */
const nodes = [process.execPath, "/usr/bin/node", "/usr/local/bin/node"].filter((path) => existsSync(path));

test.each(nodes)("%s runs it", async (node) => {
  const { stdout } = await runFile(node, [bin, "watch", "orders", "--dry-run"]);
  const wrong = runFile(node, [bin, "publish"]);

  expect(stdout).toBe("select carillon.watch('orders'::regclass, 'orders');\n");
  await expect(wrong).rejects.toMatchObject({ code: 2 });
});

test("serve is a node: it listens, and ends with 0 when it has drained", async () => {
  const port = await freePort();
  const serve = new Service({
    name: "carillon serve",
    command: process.execPath,
    args: [bin, "serve"],
    env: { PATH, HOME, AUTH: "off", PORT: `${port}` },
    ready: (service) => service.output.includes('"msg":"listening"'),
  });

  await serve.start();
  const { status } = await api(`http://127.0.0.1:${port}`).get("/healthz");
  const exit = await serve.stop();

  expect(status).toBe(200);
  expect(exit.code).toBe(0);
});

test("a signal to npm alone ends what its script runs, and nothing stays behind", async () => {
  const port = await freePort();
  const url = `http://127.0.0.1:${port}`;
  const npm = spawn("npm", ["run", "carillon", "--", "serve"], {
    cwd: fileURLToPath(new URL("../../..", import.meta.url)),
    env: { PATH, HOME, AUTH: "off", PORT: `${port}` },
    stdio: "ignore",
    detached: true,
  });
  onTestFinished(() => void endGroup(npm.pid));
  const answers = () =>
    api(url)
      .get("/healthz")
      .then(
        () => true,
        () => false,
      );
  await waitFor(answers, { what: "the node", timeoutMs: 60_000, everyMs: 200 });

  npm.kill("SIGTERM");
  await once(npm, "exit");

  expect(await answers()).toBe(false);
  expect(npm.exitCode).toBe(0);
});

function endGroup(pid: number | undefined): void {
  try {
    if (pid !== undefined) process.kill(-pid, "SIGKILL");
  } catch {
    // It has ended.
  }
}

test("serve with wrong settings ends with 1 and names them", async () => {
  const failed = runFile(process.execPath, [bin, "serve"], { env: { PATH, HOME, PORT: "http" } });

  await expect(failed).rejects.toMatchObject({ code: 1, stdout: expect.stringMatching(/PORT .*\n.*AUTH /s) });
});
