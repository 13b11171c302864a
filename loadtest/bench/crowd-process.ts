/** Many WebSocket clients that speak just enough Socket.IO to be cheap, in a process of their own. Talks to `crowd.ts` by IPC. */
import { WebSocket } from "ws";

type Command =
  | {
      readonly cmd: "connect";
      readonly url: string;
      readonly count: number;
      readonly channel: string;
      readonly perSecond: number;
    }
  | { readonly cmd: "expect"; readonly total: number }
  | { readonly cmd: "close" };

const sockets: WebSocket[] = [];
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

async function connect({ url, count, channel, perSecond }: Extract<Command, { cmd: "connect" }>): Promise<void> {
  const batch = 20;
  for (let i = 0; i < count; i += batch) {
    await Promise.all(Array.from({ length: Math.min(batch, count - i) }, () => open(url, channel)));
    await new Promise((resolve) => setTimeout(resolve, (batch / perSecond) * 1000));
  }
  process.send?.({ connected: count });
}

function open(url: string, channel: string): Promise<void> {
  return new Promise((resolve, reject) => {
    const socket = new WebSocket(`${url.replace("http", "ws")}/socket.io/?EIO=4&transport=websocket`, {
      perMessageDeflate: false,
    });
    sockets.push(socket);
    socket.on("error", reject);
    socket.on("message", (data: Buffer) => {
      const kind = data[0];
      if (kind === 0x30) socket.send("40/channels,");
      else if (kind === 0x32) socket.send("3");
      else if (data[1] === 0x30) socket.send(`42/channels,1["subscribe",{"channel":"${channel}"}]`);
      else if (data[1] === 0x33) resolve();
      else if (data.includes('"notification"')) {
        received++;
        report();
      }
    });
  });
}

function report(): void {
  if (received < expected) return;
  expected = Number.POSITIVE_INFINITY;
  process.send?.({ received });
}
