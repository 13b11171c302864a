const LOUD = ["warn", "error", "fatal"];

/** A node's JSON line for people; anything else as it is. */
export function print(line: string, source = ""): void {
  console.log([source, readable(line)].filter(Boolean).join(" "));
}

function readable(line: string): string {
  if (!line.startsWith("{")) return line;
  try {
    const { time, level, msg, ...rest } = JSON.parse(line) as Record<string, unknown>;
    const at = new Date(time as string | number).toTimeString().slice(0, 8);
    const name = String(level);
    const more = Object.keys(rest).length > 0 ? ` ${JSON.stringify(rest)}` : "";
    return `${at} ${LOUD.includes(name) ? name.toUpperCase() : name} ${msg ?? ""}${more}`;
  } catch {
    return line;
  }
}
