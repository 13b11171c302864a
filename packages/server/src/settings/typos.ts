import { SCHEMA, type Setting } from "./schema.ts";

const NAMES = (Object.entries(SCHEMA) as [string, Setting][]).flatMap(([name, setting]) =>
  setting.secret === true ? [name, `${name}_FILE`] : [name],
);
const KNOWN: ReadonlySet<string> = new Set(NAMES);

/** Variables of the environment that nothing reads and that are one slip away from a setting. Only names, never values. */
export function nearMisses(env: Readonly<Record<string, string | undefined>>): string[] {
  const warnings: string[] = [];
  for (const name of Object.keys(env)) {
    if (KNOWN.has(name) || env[name] === undefined) continue;
    const bare = name.replace(/^CARILLON_/i, "").toUpperCase();
    const meant = KNOWN.has(bare) ? bare : NAMES.find((known) => isNear(bare, known));
    if (meant !== undefined) warnings.push(`${name} is not a setting and has no effect; did you mean ${meant}?`);
    else if (bare !== name) warnings.push(`${name} is not a setting and has no effect`);
  }
  return warnings;
}

function isNear(name: string, known: string): boolean {
  if (known.length < 5 || name.length < 4) return false;
  const allowed = known.length < 9 ? 1 : 2;
  return Math.abs(name.length - known.length) <= allowed && distance(name, known) <= allowed;
}

/** Levenshtein; names are short. */
function distance(a: string, b: string): number {
  let previous = Array.from({ length: b.length + 1 }, (_, i) => i);
  for (let i = 1; i <= a.length; i++) {
    const row = [i];
    for (let j = 1; j <= b.length; j++) {
      const substituted = (previous[j - 1] ?? 0) + (a[i - 1] === b[j - 1] ? 0 : 1);
      row.push(Math.min(substituted, (previous[j] ?? 0) + 1, (row[j - 1] ?? 0) + 1));
    }
    previous = row;
  }
  return previous[b.length] ?? 0;
}
