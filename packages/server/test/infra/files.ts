import { readFileSync } from "node:fs";
import { join } from "node:path";
import { parseAllDocuments } from "yaml";

export const root = join(import.meta.dirname, "../../../..");

export function textOf(path: string): string {
  return readFileSync(join(root, path), "utf8");
}

/** Every document of a YAML file, with its anchors and merges resolved. What YAML itself warns of is an error. */
// biome-ignore lint/suspicious/noExplicitAny: the tests say what they expect
export function documentsOf(path: string): any[] {
  return parseAllDocuments(textOf(path), { merge: true }).map((document) => {
    const [fault] = [...document.errors, ...document.warnings];
    if (fault !== undefined) throw new Error(`${path}: ${fault.message}`);
    return document.toJS();
  });
}
