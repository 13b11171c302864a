/** A process full of clients: `drivers.ts` starts several, since one process could neither read nor reconnect for hundreds in time. */
import type { Command, Report } from "./messages.ts";
import { Recorder } from "./recorder.ts";

const reportEveryMs = 250;
/** Together they would be a storm of handshakes at the very start, which is another test. */
const connectEveryMs = 4;

const recorders = new Map<string, Recorder>();

process.on("message", (command: Command) => void obey(command));
// Nobody is left to report to.
process.on("disconnect", () => process.exit());
// Ctrl-C reaches the whole process group: the run decides when its drivers end.
process.on("SIGINT", () => {});

async function obey(command: Command): Promise<void> {
  switch (command.command) {
    case "begin":
      for (const spec of command.clients) {
        recorders.set(spec.name, new Recorder(spec, command));
        await new Promise((resolve) => setTimeout(resolve, connectEveryMs));
      }
      setInterval(progress, reportEveryMs);
      break;
    case "cut":
      for (const name of command.clients) recorders.get(name)?.cut();
      break;
    case "stall":
      for (const name of command.clients) recorders.get(name)?.stall(command.ms);
      break;
    case "mark":
      for (const recorder of recorders.values()) recorder.mark();
      break;
    case "finish":
      for (const recorder of recorders.values()) send({ kind: "history", history: recorder.finish() });
      send({ kind: "end" });
      break;
  }
}

function progress(): void {
  const all = [...recorders.values()];
  const waiting = all.filter((recorder) => !recorder.done);
  send({
    kind: "progress",
    connected: count(all, (recorder) => recorder.connected),
    begun: count(all, (recorder) => recorder.begun),
    heard: sum(all, (recorder) => recorder.heard),
    gaps: sum(all, (recorder) => recorder.gaps),
    done: all.length - waiting.length,
    waiting: waiting.slice(0, 5).map(({ spec }) => spec.name),
  });
}

function send(report: Report): void {
  process.send?.(report);
}

function count<T>(list: readonly T[], holds: (item: T) => boolean): number {
  return list.filter(holds).length;
}

function sum<T>(list: readonly T[], value: (item: T) => number): number {
  return list.reduce((total, item) => total + value(item), 0);
}
