/** What is published: each entry with its types, among them those that it takes from the protocol. */
import { readFileSync, rmSync } from "node:fs";
import { build } from "rolldown";
import { dts } from "rolldown-plugin-dts";

const folder = new URL(".", import.meta.url);
const {
  exports,
  dependencies,
  peerDependencies = {},
} = JSON.parse(readFileSync(new URL("package.json", folder), "utf8")) as Record<string, Record<string, string>>;
const external = ["zod", ...Object.keys({ ...dependencies, ...peerDependencies })]; // zod: in the types of what is left out

rmSync(new URL("dist", folder), { recursive: true, force: true });
await build({
  cwd: folder.pathname,
  input: Object.values(exports ?? {}),
  external: (id) => external.some((name) => id === name || id.startsWith(`${name}/`)),
  treeshake: { moduleSideEffects: false },
  plugins: [dts({ tsconfig: "tsconfig.json", tsc: { eager: true }, sourcemap: false })],
  checks: { pluginTimings: false },
  output: { dir: "dist", minify: true, sourcemap: true },
});
