/** What a command has of the world: handed in, so that tests hand in theirs. */
export interface Io {
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly stdin: AsyncIterable<Uint8Array | string> & { readonly isTTY?: boolean };
  readonly out: Output;
  readonly err: Output;
  /** Aborts when the user or the reader of our output has had enough. */
  readonly signal: AbortSignal;
}

export interface Output {
  write(text: string): void;
  /** Written, and not taken by the reader yet. */
  readonly pendingBytes: number;
  /** Whether a person looks at it, with colours. */
  readonly colors: boolean;
}

/** Ends quietly when a reader like `head` closes its end of the pipe: Node ignores SIGPIPE and gives an error instead. */
export function processIo(): Io {
  const { env, stdin } = process;
  const over = new AbortController();
  for (const signal of ["SIGINT", "SIGTERM"] as const) {
    process.on(signal, () => {
      if (over.signal.aborted) process.exit(1);
      over.abort();
    });
  }
  process.stdout.on("error", () => over.abort());
  process.stderr.on("error", () => {});
  return { env, stdin, out: output(process.stdout, env), err: output(process.stderr, env), signal: over.signal };
}

function output(stream: NodeJS.WriteStream, env: Io["env"]): Output {
  return {
    write: (text) => void (stream.writable && stream.write(text)),
    get pendingBytes() {
      return stream.writableLength;
    },
    // https://no-color.org: any value but an empty one.
    colors: stream.isTTY === true && (env.NO_COLOR ?? "") === "" && env.TERM !== "dumb",
  };
}

type Style = "bold" | "dim" | "red" | "green" | "yellow" | "cyan";
const CODES: Readonly<Record<Style, readonly [number, number]>> = {
  bold: [1, 22],
  dim: [2, 22],
  red: [31, 39],
  green: [32, 39],
  yellow: [33, 39],
  cyan: [36, 39],
};

export function paint(output: Pick<Output, "colors">, style: Style, text: string): string {
  const [on, off] = CODES[style];
  return output.colors ? `\u001b[${on}m${text}\u001b[${off}m` : text;
}

// biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what is taken out
const CONTROL = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f]/g;

/** What others wrote, fit for a terminal: a payload must not move its cursor or set its title. */
export function printable(text: string): string {
  return text.replace(CONTROL, "\ufffd");
}
