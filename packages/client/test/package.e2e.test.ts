/** What is published: the tarball, as an application gets it. */
import { execFile } from "node:child_process";
import { cp, mkdir, mkdtemp, readdir, readFile, rm, symlink, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { gzipSync } from "node:zlib";
import { afterAll, beforeAll, expect, test } from "vitest";

const run = promisify(execFile);
const source = fileURLToPath(new URL("..", import.meta.url));
const root = fileURLToPath(new URL("../../..", import.meta.url));

let work: string;
let app: string;
let published: string;

/** Packs a copy, since packing changes package.json for a while, and unpacks it where an application would have it. */
beforeAll(async () => {
  await mkdir(join(root, ".carillon"), { recursive: true });
  work = await mkdtemp(join(root, ".carillon", "client-"));
  for (const name of ["src", "build.ts", "pack.ts", "package.json", "tsconfig.json", "README.md"])
    await cp(join(source, name), join(work, name), { recursive: true });
  await symlink(join(source, "node_modules"), join(work, "node_modules"));
  await run("npm", ["pack", "--offline", "--no-update-notifier", "--pack-destination", work], { cwd: work });
  const tarball = (await readdir(work)).find((name) => name.endsWith(".tgz"))!;

  app = join(work, "app");
  published = join(app, "node_modules", "@carillon", "client");
  await mkdir(published, { recursive: true });
  await run("tar", ["-xzf", join(work, tarball), "--strip-components=1", "-C", published]);
  for (const name of ["socket.io-client", "react", "@types/react", "@tanstack/query-core"]) {
    await mkdir(dirname(join(app, "node_modules", name)), { recursive: true });
    await symlink(join(source, "node_modules", name), join(app, "node_modules", name));
  }
  await writeFile(join(app, "package.json"), '{"type":"module"}');
}, 170_000);
afterAll(() => rm(work, { recursive: true, force: true }));

test("every entry can be imported, and packing left the repository's package.json as it was", async () => {
  const program = `
    const [client, react, query] = await Promise.all(
      ["", "/react", "/tanstack-query"].map((entry) => import("@carillon/client" + entry)));
    console.log(Object.keys(client), Object.keys(react), Object.keys(query), client.createClient({ url: "http://localhost" }).status);`;
  await writeFile(join(app, "main.js"), program);

  const { stdout } = await run(process.execPath, ["main.js"], { cwd: app });
  const manifest = JSON.parse(await readFile(join(published, "package.json"), "utf8"));

  for (const name of ["createClient", "ClientError", "CarillonProvider", "useRefresh", "bindQueryClient", "idle"])
    expect(stdout).toContain(name);
  expect(manifest.dependencies).toEqual({ "socket.io-client": expect.any(String) });
  expect(manifest.devDependencies).toBeUndefined();
  expect(await readFile(join(work, "package.json"), "utf8")).toBe(await readFile(join(source, "package.json"), "utf8"));
});

test("it is under 5,000 bytes, compressed, with nothing of the protocol's schemas in it", async () => {
  const code = await readFile(join(published, "dist", "index.js"), "utf8");

  expect(gzipSync(code).length).toBeLessThan(5000);
  expect([...code.matchAll(/from"([^"]+)"/g)].map(([, name]) => name)).toEqual(["socket.io-client"]);
});

test("its types hold for an application that has nothing else of the repository", async () => {
  const program = `
    import { createClient, type Refresh } from "@carillon/client";
    import { useRefresh } from "@carillon/client/react";
    import { bindQueryClient } from "@carillon/client/tanstack-query";
    import type { QueryClient } from "@tanstack/query-core";
    const client = createClient<{ orders: { total: string } }>({ url: "http://localhost" });
    client.subscribe("orders", ({ total }) => total.length);
    // @ts-expect-error no such channel
    client.subscribe("order", () => {});
    // @ts-expect-error a total is text
    void client.publish("orders", { total: 1 });
    export const bind = (queryClient: QueryClient) => bindQueryClient(client, queryClient, { trips: ["trips"] });
    export const Hook = () => useRefresh("trips", "*", ({ scope }: Refresh) => scope);`;
  const compilerOptions = { strict: true, module: "nodenext", target: "es2022", lib: ["es2024", "dom"], noEmit: true };
  await writeFile(join(app, "main.ts"), program);
  await writeFile(join(app, "tsconfig.json"), JSON.stringify({ compilerOptions, files: ["main.ts"] }));

  const tsc = join(root, "node_modules", "typescript", "bin", "tsc");
  const { stdout } = await run(process.execPath, [tsc, "-p", app], { cwd: app }).catch((error) => error);

  expect(stdout).toBe("");
}, 120_000);
