/** What must not outlive this process, undone in reverse order: what was started last ends first. */
const undo: (() => void)[] = [];

/** `action` is synchronous, as everything at exit is. */
export function atExit(action: () => void): void {
  if (undo.length === 0) {
    process.on("exit", undoAll);
    for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) process.on(signal, exitUnlessHandled);
  }
  undo.push(action);
}

/** A signal that nobody else handles ends the process as it would have, but by way of `exit`. vitest ends its workers so. */
function exitUnlessHandled(signal: NodeJS.Signals, number: number): void {
  if (process.listenerCount(signal) === 1) process.exit(128 + number);
}

function undoAll(): void {
  for (const action of undo.toReversed()) {
    try {
      action();
    } catch {
      // The others still have to be undone.
    }
  }
}
