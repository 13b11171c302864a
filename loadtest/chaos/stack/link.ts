/** The network between one node and Redis or Postgres: what the testkit's proxy can do, and a subscription that quietly goes away. */
import { connect, createServer, type Socket } from "node:net";
import { freePort, type NetworkProxy, startProxy } from "@carillon/testkit";

export interface Link extends NetworkProxy {
  /** Ends every Redis subscription on it behind the node's back. Returns how many connections had any. */
  dropSubscriptions(): number;
}

interface Tap {
  readonly far: Socket;
  subscribes: boolean;
  /** Answers to our own command, which the node must not see. */
  swallowing: boolean;
}

const dropAll = "*1\r\n$12\r\nPUNSUBSCRIBE\r\n*1\r\n$11\r\nUNSUBSCRIBE\r\n";
const confirmation = /[*>]3\r\n\$1[12]\r\np?unsubscribe\r\n(?:\$-1|_|\$\d+\r\n[^\r]*)\r\n:\d+\r\n/g;

/** Node → breakable proxy → tap → server: the tap knows what it carries, the proxy how networks fail. */
export async function startLink(targetPort: number): Promise<Link> {
  const taps = new Set<Tap>();
  const tapPort = await freePort();
  const server = createServer({ noDelay: true }, (near) => {
    const far = connect({ port: targetPort, host: "127.0.0.1", noDelay: true });
    const tap: Tap = { far, subscribes: false, swallowing: false };
    taps.add(tap);
    near.on("data", (chunk: Buffer) => {
      tap.subscribes ||= /\$1?\d\r\np?subscribe\r\n/i.test(chunk.toString("latin1"));
      far.write(chunk);
    });
    far.on("data", (chunk: Buffer) => near.write(tap.swallowing ? withoutConfirmations(chunk) : chunk));
    const end = () => {
      taps.delete(tap);
      near.destroy();
      far.destroy();
    };
    for (const socket of [near, far]) socket.on("error", () => {}).on("close", end);
  });
  await new Promise<void>((resolve, reject) => {
    server.once("error", reject);
    server.listen(tapPort, "127.0.0.1", resolve);
  });
  const proxy = await startProxy(tapPort);
  return Object.assign(proxy, {
    dropSubscriptions(): number {
      const subscribed = [...taps].filter((tap) => tap.subscribes);
      for (const tap of subscribed) {
        tap.swallowing = true;
        tap.far.write(dropAll);
      }
      return subscribed.length;
    },
  });
}

function withoutConfirmations(chunk: Buffer): Buffer {
  const text = chunk.toString("latin1");
  return confirmation.test(text) ? Buffer.from(text.replaceAll(confirmation, ""), "latin1") : chunk;
}
