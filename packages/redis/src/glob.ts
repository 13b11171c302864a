/** Redis' own patterns (`*`, `?`, `[a-c]`, `[^a]`, `\x`), as PSUBSCRIBE matches them. */
export function compileGlob(pattern: string): (text: string) => boolean {
  let source = "";
  for (let i = 0; i < pattern.length; i++) {
    const char = pattern[i] ?? "";
    if (char === "*") source += ".*";
    else if (char === "?") source += ".";
    else if (char === "\\" && i + 1 < pattern.length) source += RegExp.escape(pattern[++i] ?? "");
    else if (char === "[" && pattern.indexOf("]", i + 1) > 0) {
      const end = pattern.indexOf("]", i + 1);
      source += set(pattern.slice(i + 1, end));
      i = end;
    } else source += RegExp.escape(char);
  }
  const regex = new RegExp(`^${source}$`, "s");
  return (text) => regex.test(text);
}

function set(body: string): string {
  const negated = body.startsWith("^");
  const members = (negated ? body.slice(1) : body).replace(/[\\^[\]]/g, "\\$&");
  return `[${negated ? "^" : ""}${members}]`;
}
