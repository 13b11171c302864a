import { type Io, paint } from "../io.ts";
import type { Finding } from "./finding.ts";

const MARKS = {
  ok: ["green", "ok     "],
  warning: ["yellow", "warning"],
  problem: ["red", "PROBLEM"],
  skipped: ["dim", "skipped"],
} as const;

export function printFinding({ status, what, fix, docs }: Finding, io: Io): void {
  const [style, mark] = MARKS[status];
  io.out.write(`${paint(io.out, style, mark)}  ${what}\n`);
  if (fix !== undefined) io.out.write(`         ${paint(io.out, "bold", "fix:")} ${fix}\n`);
  if (docs !== undefined) io.out.write(`         ${paint(io.out, "dim", `see: ${docs}`)}\n`);
}

export function printSummary(findings: readonly Finding[], io: Io): void {
  const count = (status: Finding["status"]) => findings.filter((finding) => finding.status === status).length;
  const parts = [
    several(count("problem"), "problem"),
    several(count("warning"), "warning"),
    `${count("ok")} ok`,
    `${count("skipped")} skipped`,
  ];
  io.out.write(`\n${parts.join(", ")}\n`);
}

function several(number: number, name: string): string {
  return number === 1 ? `1 ${name}` : `${number} ${name}s`;
}
