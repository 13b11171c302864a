import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { CLI_DOC, cliDoc } from "../src/docs.ts";
import { DOCS } from "../src/doctor/finding.ts";

test("docs/cli.md is current", () => {
  expect(readFileSync(CLI_DOC, "utf8")).toBe(cliDoc());
});

test.each(Object.values(DOCS))("the doctor refers to %s, which exists", (link) => {
  const [file = "", heading] = link.split("#");
  const text = readFileSync(new URL(`../../../${file}`, import.meta.url), "utf8");

  const anchors = [...text.matchAll(/^#+ (.*)$/gm)].map(([, title = ""]) =>
    title
      .toLowerCase()
      .replaceAll(/[^\w -]/g, "")
      .replaceAll(" ", "-"),
  );

  if (heading === undefined) expect(text).not.toBe("");
  else expect(anchors).toContain(heading);
});
