/**
 * Before and after `npm pack`, which takes package.json as it is: in the repository it names the sources, which Node runs as they
 * are, and in the package what was built of them.
 */
import { readFileSync, renameSync, writeFileSync } from "node:fs";

const file = new URL("package.json", import.meta.url);
const kept = new URL("package.json.kept", import.meta.url);

if (process.argv[2] === "after") renameSync(kept, file);
else {
  const text = readFileSync(file, "utf8");
  const { devDependencies: _, scripts: __, publishConfig, ...published } = JSON.parse(text);
  writeFileSync(kept, text);
  writeFileSync(file, `${JSON.stringify({ ...published, exports: publishConfig.exports }, undefined, 2)}\n`);
}
