export interface Inspector {
  /** Bytes of the heap in use after the garbage was collected. */
  heapBytes(): Promise<number>;
  /** The same and what buffers hold outside of the heap. */
  liveBytes(): Promise<number>;
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
  await new Promise((resolve, reject) => {
    socket.onopen = resolve;
    socket.onerror = () => reject(new Error("the inspector does not answer"));
  });
  const waiting = new Map<number, (result: unknown) => void>();
  socket.addEventListener("message", ({ data }) => {
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
  const evaluate = async (expression: string): Promise<number> =>
    (await ask<{ result: { value: number } }>("Runtime.evaluate", { expression })).result.value;
  const heapBytes = async (): Promise<number> => {
    for (let i = 0; i < 3; i++) await ask("HeapProfiler.collectGarbage");
    return (await ask<{ usedSize: number }>("Runtime.getHeapUsage")).usedSize;
  };
  return {
    heapBytes,
    liveBytes: async () => (await heapBytes()) + (await evaluate("process.memoryUsage().external")),
    listeners: () => evaluate("process.eventNames().reduce((sum, name) => sum + process.listenerCount(name), 0)"),
    close: () => socket.close(),
  };
}
