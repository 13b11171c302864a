/** Patterns as the server has them: `*` stands for any run of characters, `|` parts alternatives. */
export function compilePattern(pattern: string): (name: string) => boolean {
  const expression = new RegExp(`^(?:${pattern.replace(/[^\w*|]/g, "\\$&").replaceAll("*", ".*")})$`);
  return (name) => expression.test(name);
}
