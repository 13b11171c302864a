/** Many clients that speak just enough of their protocol to be cheap, in a process of their own. Talks to `crowd.ts` by IPC. */
import { Agent, get, type IncomingMessage } from "node:http";
import { WebSocket } from "ws";
import type { ClientKind } from "./crowd.ts";

type Command =
  | {
      readonly cmd: "connect";
      readonly url: string;
      readonly count: number;
      readonly channel: string;
      readonly perSecond: number;
      readonly kind: ClientKind;
    }
  | { readonly cmd: "expect"; readonly total: number }
  | { readonly cmd: "close" };

const sockets: { terminate(): void }[] = [];
const streams = new Agent({ maxSockets: Number.POSITIVE_INFINITY });
let received = 0;
let expected = Number.POSITIVE_INFINITY;

process.on("message", (command: Command) => {
  if (command.cmd === "connect") void connect(command);
  else if (command.cmd === "expect") {
    expected = command.total;
    report();
  } else {
    for (const socket of sockets) socket.terminate();
    process.exit(0);
  }
});

async function connect({ url, count, channel, perSecond, kind }: Extract<Command, { cmd: "connect" }>): Promise<void> {
  const batch = 20;
  for (let i = 0; i < count; i += batch) {
    await Promise.all(Array.from({ length: Math.min(batch, count - i) }, () => OPEN[kind](url, channel)));
    await new Promise((resolve) => setTimeout(resolve, (batch / perSecond) * 1000));
  }
  process.send?.({ connected: count });
}

const OPEN: Record<ClientKind, (url: string, channel: string) => Promise<void>> = {
  "socket.io": (url, channel) =>
    webSocket(`${url}/socket.io/?EIO=4&transport=websocket`, (socket, data, whenSubscribed) => {
      const kind = data[0];
      if (kind === 0x30) socket.send("40/channels,");
      else if (kind === 0x32) socket.send("3");
      else if (data[1] === 0x30) socket.send(`42/channels,1["subscribe",{"channel":"${channel}"}]`);
      else if (data[1] === 0x33) whenSubscribed();
      else if (data.includes('"notification"')) hear();
    }),
  ws: (url, channel) =>
    webSocket(`${url}/ws`, (socket, data, whenSubscribed) => {
      if (data.includes('"type":"notification"')) hear();
      else if (data.includes('"type":"ready"')) socket.send(`{"type":"subscribe","channel":"${channel}"}`);
      else if (data.includes('"type":"subscribed"')) whenSubscribed();
    }),
  sse: (url, channel) =>
    new Promise((resolve, reject) => {
      const request = get(`${url}/events?channel=${channel}`, { agent: streams }, (answer: IncomingMessage) => {
        let rest = "";
        answer.setEncoding("utf8").on("data", (text: string) => {
          const events = (rest + text).split("\n\n");
          rest = events.pop() ?? "";
          for (const event of events) {
            if (event.includes("event: notification")) hear();
            else if (event.includes("event: ready")) resolve();
          }
        });
      });
      request.on("error", reject);
      sockets.push({ terminate: () => request.destroy() });
    }),
};

function webSocket(
  url: string,
  onMessage: (socket: WebSocket, data: Buffer, whenSubscribed: () => void) => void,
): Promise<void> {
  return new Promise((resolve, reject) => {
    const socket = new WebSocket(url.replace("http", "ws"), { perMessageDeflate: false });
    sockets.push(socket);
    socket.on("error", reject);
    socket.on("message", (data: Buffer) => onMessage(socket, data, resolve));
  });
}

function hear(): void {
  received++;
  report();
}

function report(): void {
  if (received < expected) return;
  expected = Number.POSITIVE_INFINITY;
  process.send?.({ received });
}
