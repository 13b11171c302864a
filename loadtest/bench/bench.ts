import type { Table } from "./table.ts";

export interface BenchOptions {
  /** How often each measurement is repeated, alternating between the two. */
  readonly rounds: number;
  /** Length of one measurement. */
  readonly seconds: number;
  readonly progress: (line: string) => void;
}

export interface Bench {
  readonly name: string;
  readonly about: string;
  run(options: BenchOptions): Promise<Table[]>;
}
