import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";

const root = new URL("../../../", import.meta.url);
const NAMED = /`([\w./-]+\.test\.ts)`: "([^"]+)"/g;

test.each(["docs/guarantees.md", "docs/cases.md", "ARCHITECTURE.md"])("every test that %s names exists", (document) => {
  const text = readFileSync(new URL(document, root), "utf8");
  const named = [...text.matchAll(NAMED)].map(([, file = "", name = ""]) => ({ file, name }));

  const missing = named.filter(
    ({ file, name }) => !readFileSync(fileURLToPath(new URL(file, root)), "utf8").includes(name),
  );

  expect(named.length).toBeGreaterThan(5);
  expect(missing).toEqual([]);
});
