import { WebSocket } from "ws";

export interface Inspector {
  /** Bytes in use after the garbage was collected. */
  heapBytes(): Promise<number>;
  /** Listeners on the process itself. */
  listeners(): Promise<number>;
  close(): void;
}

/** Talks to a Node process that was started with `--inspect` on this port. */
export async function inspect(port: number): Promise<Inspector> {
  const [target] = (await (await fetch(`http://127.0.0.1:${port}/json/list`)).json()) as {
    webSocketDebuggerUrl: string;
  }[];
  if (target === undefined) throw new Error("nothing to inspect");
  const socket = new WebSocket(target.webSocketDebuggerUrl);
  await new Promise((resolve, reject) => socket.once("open", resolve).once("error", reject));
  const waiting = new Map<number, (result: unknown) => void>();
  socket.on("message", (data) => {
    const { id, result } = JSON.parse(String(data)) as { id?: number; result?: unknown };
    if (id !== undefined) waiting.get(id)?.(result);
  });
  let last = 0;
  const ask = <T>(method: string, params: object = {}): Promise<T> =>
    new Promise((resolve) => {
      last++;
      waiting.set(last, resolve as (result: unknown) => void);
      socket.send(JSON.stringify({ id: last, method, params }));
    });
  return {
    async heapBytes() {
      for (let i = 0; i < 3; i++) await ask("HeapProfiler.collectGarbage");
      return (await ask<{ usedSize: number }>("Runtime.getHeapUsage")).usedSize;
    },
    async listeners() {
      const expression = "process.eventNames().reduce((sum, name) => sum + process.listenerCount(name), 0)";
      return (await ask<{ result: { value: number } }>("Runtime.evaluate", { expression })).result.value;
    },
    close: () => socket.close(),
  };
}
