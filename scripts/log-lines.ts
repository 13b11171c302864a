const levels: Record<string, string> = { 10: "trace", 20: "debug", 30: "info", 40: "WARN", 50: "ERROR", 60: "FATAL" };

/** A node's JSON line for people; anything else as it is. */
export function print(line: string, source = ""): void {
  console.log([source, readable(line)].filter(Boolean).join(" "));
}

function readable(line: string): string {
  if (!line.startsWith("{")) return line;
  try {
    const { time, level, msg, pid: _pid, hostname: _hostname, ...rest } = JSON.parse(line) as Record<string, unknown>;
    const at = new Date(time as string | number).toTimeString().slice(0, 8);
    const more = Object.keys(rest).length > 0 ? ` ${JSON.stringify(rest)}` : "";
    return `${at} ${levels[String(level)] ?? level} ${msg ?? ""}${more}`;
  } catch {
    return line;
  }
}
