import { connect, createServer, type Socket } from "node:net";

interface Pair {
  readonly near: Socket;
  readonly far: Socket;
  subscriber: boolean;
}

/** A proxy in front of Redis that lies: it speaks to Redis in a subscriber's name, or keeps answers to itself. */
export async function startInjector(port: number) {
  const pairs = new Set<Pair>();
  const server = createServer((near) => {
    const far = connect(port, "127.0.0.1");
    const pair: Pair = { near, far, subscriber: false };
    pairs.add(pair);
    near.on("data", (data) => {
      pair.subscriber ||= data.includes("subscribe");
      far.write(data);
    });
    far.pipe(near);
    const end = () => {
      pairs.delete(pair);
      near.destroy();
      far.destroy();
    };
    for (const socket of [near, far]) socket.on("close", end).on("error", end);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const address = server.address();

  return {
    port: typeof address === "object" && address !== null ? address.port : 0,
    /** One command, with the subscribers' connections. */
    say(command: string) {
      const words = command.split(" ");
      const encoded = `*${words.length}\r\n${words.map((word) => `$${word.length}\r\n${word}\r\n`).join("")}`;
      for (const { far, subscriber } of pairs) if (subscriber) far.write(encoded);
    },
    /** The next request of each command connection still arrives; its answer doesn't, and the connection breaks. */
    loseAnswers() {
      for (const { near, far, subscriber } of pairs) {
        if (subscriber) continue;
        far.unpipe(near);
        far.once("data", () => near.destroy()).resume();
      }
    },
    /** Open connections stay open and carry nothing any more, as behind a middlebox that forgot them; new ones work. */
    hang() {
      for (const pair of pairs) {
        pair.near.removeAllListeners("data").resume();
        pair.far.unpipe(pair.near).resume();
      }
    },
    close() {
      for (const { near } of pairs) near.destroy();
      server.close();
    },
  };
}
