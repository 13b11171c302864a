import { readFileSync } from "node:fs";
import { expect, test } from "vitest";

const read = (path: string) => readFileSync(new URL(path, import.meta.url), "utf8");

test("what the page on React shows is what runs in Chromium", () => {
  const application = read("page/app.jsx");
  const blocks = [...read("../../../docs/clients/react.md").matchAll(/```jsx\n(.*?)```/gs)].map(
    ([, code]) => code ?? "",
  );

  expect(blocks.length).toBeGreaterThanOrEqual(3);
  for (const block of blocks) expect(application).toContain(block);
});
