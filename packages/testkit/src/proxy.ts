import { connect, createServer, type Socket } from "node:net";
import { freePort } from "./ports.ts";

export interface NetworkProxy {
  port: number;
  /** How many connections are open through it. */
  readonly connections: number;
  /** Resets every connection and refuses new ones. */
  cut(): Promise<void>;
  /** Keeps every connection open, accepts new ones, and forwards nothing in either direction, not even that one end has left. */
  blackhole(): void;
  /** Forwards again, what was held back too. */
  restore(): Promise<void>;
  close(): Promise<void>;
}

interface Pair {
  near: Socket;
  far: Socket | undefined;
  /** One end closed while the hole was open; the other learns it at `restore`. */
  over: boolean;
}

/** A TCP proxy in this process, for a network that fails on demand. */
export async function startProxy(targetPort: number, targetHost = "127.0.0.1"): Promise<NetworkProxy> {
  const port = await freePort();
  const pairs = new Set<Pair>();
  let holding = false;

  const server = createServer({ noDelay: true }, (near) => {
    const pair: Pair = { near, far: undefined, over: false };
    pairs.add(pair);
    watch(pair, near);
    if (holding) near.pause();
    else forward(pair);
  });

  const watch = (pair: Pair, end: Socket) => {
    end.on("error", () => {});
    end.on("close", () => {
      pair.over = true;
      if (!holding) drop(pair);
    });
  };
  const drop = (pair: Pair) => {
    pair.near.destroy();
    pair.far?.destroy();
    pairs.delete(pair);
  };
  const forward = (pair: Pair) => {
    if (pair.far === undefined) {
      pair.far = connect({ port: targetPort, host: targetHost, noDelay: true });
      watch(pair, pair.far);
    }
    pair.near.pipe(pair.far).pipe(pair.near);
  };
  const listen = () =>
    new Promise<void>((resolve, reject) => {
      server.once("error", reject);
      server.listen(port, "127.0.0.1", () => {
        server.off("error", reject);
        resolve();
      });
    });
  const cut = async () => {
    const closed = server.listening ? new Promise((resolve) => server.close(resolve)) : undefined;
    for (const pair of pairs) {
      pair.near.resetAndDestroy();
      pair.far?.resetAndDestroy();
    }
    pairs.clear();
    await closed;
  };

  await listen();
  return {
    port,
    get connections() {
      return pairs.size;
    },
    cut,
    blackhole() {
      holding = true;
      for (const { near, far } of pairs) {
        for (const end of [near, far]) end?.unpipe().pause();
      }
    },
    async restore() {
      holding = false;
      for (const pair of pairs) {
        if (pair.over) drop(pair);
        else forward(pair);
      }
      if (!server.listening) await listen();
    },
    close: cut,
  };
}
