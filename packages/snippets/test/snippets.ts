/**
 * The code blocks of `docs/`. What one has to do stands in a comment on the line above it, which no reader of the page sees:
 *
 *   <!-- run: prints TRIP_APPROVED -->               while refreshes and messages are published, it writes this text
 *   <!-- run: delivers TRIP_APPROVED -->             it ends by itself, without an error, and a client hears something with this text
 *   <!-- run with websocat: prints TRIP_APPROVED --> so does one that needs more than its language; `ways.ts` knows what
 *   <!-- not run: there is no Dart here -->          why no test does it
 *
 * A block that names its language has one of them.
 */
import { globSync, readFileSync } from "node:fs";
import { join } from "node:path";

export interface Snippet {
  /** File and line, for the test's name. */
  readonly at: string;
  /** Its language and what else it needs: `sh`, `sh with websocat`. */
  readonly way: string;
  readonly code: string;
  readonly does: "prints" | "delivers";
  readonly text: string;
}

const root = join(import.meta.dirname, "..", "..", "..");
const BLOCK = /^(?:<!-- ([^\n]+) -->\n)?```(\w+)\n(.*?)^```$/gms;
const RUN = /^run( with \w+)?: (prints|delivers) (.+)$/;
const NOT_RUN = /^not run: ./;

export function snippets(): Snippet[] {
  const files = globSync("docs/{clients,publishers}/*.md", { cwd: root }).toSorted();
  return files.flatMap((file) => snippetsIn(file, readFileSync(join(root, file), "utf8")));
}

/** Those that are run. A block of which its page doesn't say whether it is would be a block that never runs, so that is an error. */
export function snippetsIn(file: string, text: string): Snippet[] {
  return [...text.matchAll(BLOCK)].flatMap((match) => {
    const [, mark = "", language = "", code = ""] = match;
    const at = `${file}:${text.slice(0, match.index).split("\n").length + (mark === "" ? 0 : 1)}`;
    if (NOT_RUN.test(mark)) return [];
    const [, needs = "", does, expected = ""] = RUN.exec(mark) ?? [];
    if (does === undefined) throw new Error(`${at}: say above it what it does ("run: …") or why it isn't run`);
    return [{ at, way: language + needs, code, does: does as Snippet["does"], text: expected }];
  });
}
