/** A proxy between the nodes and Redis that knows which connection is which, speaks in their names, and holds things back. */
import { connect, createServer, type Socket } from "node:net";
import { freePort } from "@carillon/testkit";

/** As the nodes name their connections. */
export type Role = "commands" | "subscriber" | "feed";

interface Pair {
  readonly near: Socket;
  readonly far: Socket;
  role: Role | undefined;
  /** What is not forwarded, by direction. */
  readonly heldUp: Buffer[];
  readonly heldDown: Buffer[];
  holdsUp: boolean;
  holdsDown: boolean;
}

export interface RedisTap {
  readonly url: string;
  /** One command in the name of each connection with this role, or of the first `most` of them. Resolves with how many. */
  say(role: Role, command: string, most?: number): number;
  /**
   * From the first request that contains `text` on, nothing of its connection reaches Redis. Resolves when that request is there.
   */
  holdRequest(text: string): Promise<void>;
  /** The request that contains `text` reaches Redis, which does it; nothing of what it answers reaches the node. Resolves when it has answered. */
  holdAnswer(text: string): Promise<void>;
  /** Forwards again, what was held back first; to Redis also what a node sent that is dead by now. */
  release(): void;
  close(): void;
}

export async function startRedisTap(targetPort: number): Promise<RedisTap> {
  const pairs = new Set<Pair>();
  let trap: { text: string; kind: "request" | "answer"; sprung: () => void } | undefined;

  const server = createServer({ noDelay: true }, (near) => {
    const far = connect({ port: targetPort, host: "127.0.0.1", noDelay: true });
    const pair: Pair = { near, far, role: undefined, heldUp: [], heldDown: [], holdsUp: false, holdsDown: false };
    pairs.add(pair);
    near.on("data", (data) => {
      pair.role ??= roleIn(data);
      if (trap !== undefined && data.includes(trap.text)) {
        if (trap.kind === "request") {
          pair.holdsUp = true;
          trap.sprung();
        } else pair.holdsDown = true;
      }
      if (pair.holdsUp) pair.heldUp.push(data);
      else far.write(data);
    });
    far.on("data", (data) => {
      if (!pair.holdsDown) {
        near.write(data);
        return;
      }
      pair.heldDown.push(data);
      trap?.sprung();
    });
    const end = () => {
      near.destroy();
      // What a dead node sent may still be on its way.
      if (pair.heldUp.length > 0 && !far.destroyed) return;
      pairs.delete(pair);
      far.destroy();
    };
    for (const socket of [near, far]) socket.on("close", end).on("error", end);
  });
  const port = await freePort();
  await new Promise<void>((resolve) => server.listen(port, "127.0.0.1", resolve));

  const hold = (kind: "request" | "answer", text: string) =>
    new Promise<void>((resolve) => {
      trap = { kind, text, sprung: resolve };
    });
  return {
    url: `redis://127.0.0.1:${port}`,
    say(role, command, most = Number.POSITIVE_INFINITY) {
      const words = command.split(" ");
      const encoded = `*${words.length}\r\n${words.map((word) => `$${word.length}\r\n${word}\r\n`).join("")}`;
      const some = [...pairs].filter((pair) => pair.role === role).slice(0, most);
      for (const { far } of some) far.write(encoded);
      return some.length;
    },
    holdRequest: (text) => hold("request", text),
    holdAnswer: (text) => hold("answer", text),
    release() {
      trap = undefined;
      for (const pair of pairs) {
        pair.holdsUp = pair.holdsDown = false;
        for (const data of pair.heldUp.splice(0)) pair.far.write(data);
        for (const data of pair.heldDown.splice(0)) if (!pair.near.destroyed) pair.near.write(data);
        if (pair.near.destroyed) pair.far.end();
      }
    },
    close() {
      for (const { near, far } of pairs) {
        near.destroy();
        far.destroy();
      }
      server.close();
    },
  };
}

function roleIn(data: Buffer): Role | undefined {
  return (["commands", "subscriber", "feed"] as const).find((role) => data.includes(`:${role}\r\n`));
}
