/** A client that publishes over its own connection; the ack is the promise. */
import { io, type Socket } from "socket.io-client";
import type { Ingress } from "./ingress.ts";
import { type Ledger, Refused } from "./ledger.ts";

const ackTimeoutMs = 10_000;

export class ClientIngress implements Ingress {
  readonly name = "client";
  readonly weight = 1;
  readonly lanes = 2;
  readonly #ledger: Ledger;
  readonly #socket: Socket;

  constructor({ url, token, ledger }: { url: string; token: string | undefined; ledger: Ledger }) {
    this.#ledger = ledger;
    this.#socket = io(`${url}/channels`, {
      forceNew: true,
      transports: ["websocket"],
      auth: { user: "publisher", ...(token !== undefined && { token }) },
    });
  }

  publish(tag: string): Promise<void> {
    return this.#ledger.record({ tag, channel: "chat", promised: true }, async () => {
      // What the socket held back while it was away would be sent after its time.
      if (!this.#socket.connected) throw new Refused("not connected");
      const answer = await this.#socket
        .timeout(ackTimeoutMs)
        .emitWithAck("publish", { channel: "chat", payload: { tag } });
      if (answer?.ok === true) return answer.id as string | undefined;
      throw answer?.error?.retryAfterS === undefined ? new Refused(JSON.stringify(answer)) : new Error("perhaps");
    });
  }

  async close(): Promise<void> {
    this.#socket.disconnect();
  }
}
