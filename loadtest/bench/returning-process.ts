/** Many clients that come back by themselves, to another node, as stock ones do. Talks to `reconnect.ts` by IPC. */
import { WebSocket } from "ws";

type Command =
  | { readonly cmd: "connect"; readonly url: string; readonly next: string; readonly count: number }
  | { readonly cmd: "close" };

const RETRY_MIN_MS = 500;
const RETRY_MAX_MS = 2500;

let next = "";
let wholeAgain = 0;
let gaps = 0;
let attempts = 0;
const sockets = new Set<WebSocket>();

process.on("message", (command: Command) => {
  if (command.cmd === "connect") {
    next = command.next;
    void connectAll(command.url, command.count);
  } else process.exit(0);
});

setInterval(() => process.send?.({ wholeAgain, gaps, attempts }), 100);

async function connectAll(url: string, count: number): Promise<void> {
  for (let i = 0; i < count; i += 20)
    await Promise.all(
      Array.from({ length: Math.min(20, count - i) }, () => new Promise<void>((done) => open(url, {}, done))),
    );
  process.send?.({ connected: count });
}

function open(url: string, session: { pid?: string; offset?: string }, whenReady?: () => void): void {
  const socket = new WebSocket(`${url.replace("http", "ws")}/socket.io/?EIO=4&transport=websocket`, {
    perMessageDeflate: false,
  });
  sockets.add(socket);
  socket.on("error", () => {});
  socket.on("message", (data) => {
    const text = String(data);
    if (text === "2") socket.send("3");
    else if (text.startsWith("0")) socket.send(`40/trips,${JSON.stringify(session)}`);
    else if (text.startsWith("40/trips,")) session.pid = JSON.parse(text.slice("40/trips,".length)).pid;
    else if (text.startsWith("42/trips,")) {
      const [event, argument, id] = JSON.parse(text.slice("42/trips,".length));
      session.offset = id;
      if (argument.scope === "ALL") gaps++;
      if (event !== "ready") return;
      if (argument.recovered) wholeAgain++;
      whenReady?.();
    }
  });
  socket.on("close", () => {
    sockets.delete(socket);
    attempts++;
    setTimeout(() => open(next, session), RETRY_MIN_MS + Math.random() * (RETRY_MAX_MS - RETRY_MIN_MS));
  });
}
