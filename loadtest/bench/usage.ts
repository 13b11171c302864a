import { readFileSync } from "node:fs";

const TICKS_PER_S = 100;

/** CPU time of a process so far, user and system, in microseconds. */
export function cpuMicros(pid: number): number {
  const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  return ((Number(fields[11]) + Number(fields[12])) / TICKS_PER_S) * 1e6;
}

/** Resident memory in bytes. */
export function residentBytes(pid: number): number {
  const match = /^VmRSS:\s+(\d+) kB/m.exec(readFileSync(`/proc/${pid}/status`, "utf8"));
  return Number(match?.[1] ?? Number.NaN) * 1024;
}

/** Bytes that the kernel holds on both sides of the connections to a local port: sent and not read. */
export function kernelBytes(port: number): number {
  const hex = `:${port.toString(16).toUpperCase().padStart(4, "0")}`;
  let bytes = 0;
  for (const line of readFileSync("/proc/net/tcp", "utf8").split("\n").slice(1)) {
    const [, local = "", remote = "", , queues = "0:0"] = line.trim().split(/\s+/);
    const [unsent = "0", unread = "0"] = queues.split(":");
    if (local.endsWith(hex)) bytes += Number.parseInt(unsent, 16);
    if (remote.endsWith(hex)) bytes += Number.parseInt(unread, 16);
  }
  return bytes;
}
