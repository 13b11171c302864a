/**
 * The code blocks of `docs/` that are run. What one has to do stands in a comment on the line above it, which no reader of the page sees:
 *
 *   <!-- run: prints TRIP_APPROVED -->     while refreshes and messages are published, it writes this text
 *   <!-- run: delivers TRIP_APPROVED -->   it ends by itself, without an error, and a client hears something with this text
 */
import { globSync, readFileSync } from "node:fs";
import { join } from "node:path";

export interface Snippet {
  /** File and line, for the test's name. */
  readonly at: string;
  readonly language: string;
  readonly code: string;
  readonly does: "prints" | "delivers";
  readonly text: string;
}

const root = join(import.meta.dirname, "..", "..", "..");
const MARKED = /^<!-- run: (prints|delivers) ([^\n]+) -->\n```(\w+)\n(.*?)^```$/gms;

export function snippets(): Snippet[] {
  const files = globSync("docs/{clients,publishers}/*.md", { cwd: root }).toSorted();
  return files.flatMap((file) => snippetsIn(file, readFileSync(join(root, file), "utf8")));
}

export function snippetsIn(file: string, text: string): Snippet[] {
  const found = [...text.matchAll(MARKED)].map((match) => {
    const [, does = "", expected = "", language = "", code = ""] = match;
    const line = text.slice(0, match.index).split("\n").length + 1;
    return { at: `${file}:${line}`, language, code, does: does as Snippet["does"], text: expected };
  });
  // A marker that is spelled wrong would be a test that never runs.
  const markers = text.match(/<!-- *run/g)?.length ?? 0;
  if (markers !== found.length)
    throw new Error(`${file}: ${markers} marked blocks, and ${found.length} that can be read`);
  return found;
}
