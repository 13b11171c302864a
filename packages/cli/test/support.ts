import { Readable } from "node:stream";
import type { Io } from "../src/io.ts";
import { run } from "../src/run.ts";

export interface Ran {
  readonly code: number;
  readonly out: string;
  readonly err: string;
}

export interface RunOptions {
  readonly env?: Record<string, string>;
  readonly stdin?: string;
  readonly signal?: AbortSignal;
  /** Called with everything that was written so far. */
  readonly onOut?: (text: string) => void;
  readonly onErr?: (text: string) => void;
}

/** One command line in this process, without this process's environment. */
export async function carillon(args: readonly string[], options: RunOptions = {}): Promise<Ran> {
  let out = "";
  let err = "";
  const io: Io = {
    env: { HOME: "/nonexistent", ...options.env },
    stdin: Readable.from([options.stdin ?? ""]),
    out: {
      colors: false,
      pendingBytes: 0,
      write: (text) => {
        out += text;
        options.onOut?.(out);
      },
    },
    err: {
      colors: false,
      pendingBytes: 0,
      write: (text) => {
        err += text;
        options.onErr?.(err);
      },
    },
    signal: options.signal ?? new AbortController().signal,
  };
  const code = await run(args, io);
  return { code, out, err };
}
