import { io, type ManagerOptions, type Socket, type SocketOptions } from "socket.io-client";

export interface RecordedEvent {
  event: string;
  // biome-ignore lint/suspicious/noExplicitAny: a test says what it expects
  args: any[];
  /** `performance.now()` when it arrived. */
  at: number;
}

export type ConnectOptions = Partial<ManagerOptions & SocketOptions>;

export interface Client {
  socket: Socket;
  /** Everything that it heard, in order. */
  events: RecordedEvent[];
  /** The first `ready` event; rejects when the namespace is refused for good, or after 15 s. */
  ready: Promise<RecordedEvent>;
  /** The first event of that name, and for which `predicate` holds, that no earlier call gave back; waits for it if need be. */
  next(
    event: string,
    predicate?: (...args: RecordedEvent["args"]) => boolean,
    timeoutMs?: number,
  ): Promise<RecordedEvent>;
  /** `emit` with an ack, within 10 s. */
  // biome-ignore lint/suspicious/noExplicitAny: a test says what it expects
  ask(event: string, ...args: unknown[]): Promise<any>;
  close(): void;
}

/** A stock Socket.IO client with a connection of its own, which records what it hears. */
export function connect(url: string, namespace = "/", options: ConnectOptions = {}): Client {
  const socket = io(url + (namespace === "/" ? "" : namespace), { forceNew: true, ...options });
  const events: RecordedEvent[] = [];
  const given = new Set<RecordedEvent>();
  const waiting = new Set<(heard: RecordedEvent) => void>();

  socket.onAny((event: string, ...args) => {
    const heard = { event, args, at: performance.now() };
    events.push(heard);
    for (const tell of waiting) tell(heard);
  });

  const next: Client["next"] = (event, predicate = () => true, timeoutMs = 10_000) => {
    const fits = (heard: RecordedEvent) => heard.event === event && !given.has(heard) && predicate(...heard.args);
    return new Promise((resolve, reject) => {
      const done = (heard: RecordedEvent) => {
        given.add(heard);
        waiting.delete(tell);
        clearTimeout(timer);
        resolve(heard);
      };
      const tell = (heard: RecordedEvent) => {
        if (fits(heard)) done(heard);
      };
      const timer = setTimeout(() => {
        waiting.delete(tell);
        const heard = events.slice(-10).map((other) => JSON.stringify([other.event, ...other.args]));
        reject(
          new Error(
            `no ${event} on ${namespace} within ${timeoutMs} ms; heard last:\n${heard.join("\n") || "nothing"}`,
          ),
        );
      }, timeoutMs);
      const heard = events.find(fits);
      if (heard) done(heard);
      else waiting.add(tell);
    });
  };

  const ready = new Promise<RecordedEvent>((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error(`no ready on ${namespace} within 15000 ms`)), 15_000);
    socket.once("ready", () => {
      clearTimeout(timer);
      queueMicrotask(() => resolve(events.find(({ event }) => event === "ready") as RecordedEvent));
    });
    socket.on("connect_error", (error) => {
      if (socket.active) return; // it comes back by itself
      clearTimeout(timer);
      reject(error);
    });
  });
  ready.catch(() => {}); // most tests do not look at it

  return {
    socket,
    events,
    ready,
    next,
    ask: (event, ...args) => socket.timeout(10_000).emitWithAck(event, ...args),
    close: () => void socket.disconnect(),
  };
}
