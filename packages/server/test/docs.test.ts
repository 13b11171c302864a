import { existsSync, globSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";

const root = new URL("../../../", import.meta.url);
const cwd = fileURLToPath(root);
const pages = globSync("{*.md,{docs,packages,infra,loadtest}/**/*.md}", { cwd, exclude: ["**/node_modules/**"] });
const NAMED = /`([\w./-]+\.test\.ts)`: "([^"]+)"/g;

test.each(["docs/guarantees.md", "docs/cases.md", "ARCHITECTURE.md"])("every test that %s names exists", (document) => {
  const named = [...text(document).matchAll(NAMED)].map(([, file = "", name = ""]) => ({ file, name }));

  const missing = named.filter(({ file, name }) => !text(file).includes(name));

  expect(named.length).toBeGreaterThan(5);
  expect(missing).toEqual([]);
});

test.each(pages)("what %s links to is there", (page) => {
  const links = linksOf(page).filter((link) => !/^[a-z]+:/.test(link));

  const dead = links.filter((link) => {
    const [path = "", heading] = link.split("#");
    const target = path === "" ? page : join(dirname(page), path);
    return !existsSync(new URL(target, root)) || (heading !== undefined && !headingsOf(target).includes(heading));
  });

  expect(dead).toEqual([]);
});

test("a page of docs/ can be reached from the README", () => {
  const reached = new Set<string>();
  const waiting = ["README.md"];
  for (let page = waiting.pop(); page !== undefined; page = waiting.pop()) {
    if (reached.has(page)) continue;
    reached.add(page);
    const from = dirname(page);
    const linked = linksOf(page).map((link) => join(from, link.replace(/#.*/, "")));
    waiting.push(...pages.filter((other) => linked.some((path) => path === other || path === dirname(other))));
  }

  expect(pages.filter((page) => page.startsWith("docs/") && !reached.has(page))).toEqual([]);
});

test("each decision has a number of its own, without holes, and says it", () => {
  const files = globSync("docs/adr/*.md", { cwd }).toSorted();

  expect(files.map((file) => /\d{4}/.exec(file)?.[0])).toEqual(files.map((_, i) => String(i + 1).padStart(4, "0")));
  expect(files.map((file) => Number.parseInt(text(file).slice(2), 10))).toEqual(files.map((_, i) => i + 1));
});

function text(file: string): string {
  return readFileSync(new URL(file, root), "utf8");
}

function linksOf(page: string): string[] {
  return [...text(page).matchAll(/\]\(([^)\s]+)\)/g)].map(([, link = ""]) => link);
}

/** As GitHub makes anchors of them. */
function headingsOf(page: string): string[] {
  return [...text(page).matchAll(/^#+ (.*)$/gm)].map(([, title = ""]) =>
    title
      .toLowerCase()
      .replaceAll(/[^\w -]/g, "")
      .replaceAll(" ", "-"),
  );
}
