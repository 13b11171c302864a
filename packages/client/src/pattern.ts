/** Patterns as the server has them: `*` stands for any run of characters, `|` parts alternatives. */
export function compilePattern(pattern: string): (name: string) => boolean {
  const parts = pattern.split("|").map((part) => part.replace(/[.+?^${}()[\]\\]/g, "\\$&").replaceAll("*", ".*"));
  const expression = new RegExp(`^(?:${parts.join("|")})$`);
  return (name) => expression.test(name);
}
