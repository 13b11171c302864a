/** `GET /ws`: upgrades to plain WebSockets, and what they say of who asks. */
import type { IncomingMessage } from "node:http";
import type { Socket } from "node:net";
import type { Duplex } from "node:stream";
import { CarillonError } from "@carillon/protocol";
import { WebSocketServer } from "ws";
import { isBearer } from "../../auth/authenticator.ts";
import { answerRaw, type OtherUpgrade, PLAIN_PATH } from "../io-server.ts";
import type { Transports } from "../transports.ts";
import { type Handshake, PlainClient, type PlainClientOptions } from "./client.ts";
import { type Identification, identify } from "./identify.ts";
import { type Heartbeat, WsTransport } from "./ws-transport.ts";

export interface PlainDoorOptions extends PlainClientOptions {
  readonly tickets: Identification["tickets"];
  /** `AUTH=off`: whoever comes is let in. */
  readonly open: boolean;
  readonly transports: Pick<Transports, "add">;
  /** Counts a transport of an address. Returns what ends that. */
  readonly hold: (request: IncomingMessage) => () => void;
  readonly heartbeat: Heartbeat;
  readonly maxFrameBytes: number;
  /** A client with more unsent bytes that goes on pinging is ended. */
  readonly maxUnsentBytes: number;
}

export class PlainDoor implements OtherUpgrade {
  readonly path = PLAIN_PATH;
  readonly #options: PlainDoorOptions;
  readonly #server: WebSocketServer;

  constructor(options: PlainDoorOptions) {
    this.#options = options;
    this.#server = new WebSocketServer({
      noServer: true,
      clientTracking: false,
      perMessageDeflate: false,
      maxPayload: options.maxFrameBytes,
      autoPong: false,
    });
    this.#server.on("wsClientError", (error, socket, request) =>
      answerRaw(request, socket, new CarillonError("BAD_REQUEST", error.message)),
    );
  }

  readonly upgrade = (request: IncomingMessage, socket: Duplex, head: Buffer): void => {
    const { hold, transports, heartbeat, maxUnsentBytes } = this.#options;
    this.#server.handleUpgrade(request, socket, head, (ws) => {
      const transport = new WsTransport(ws, socket as Socket, heartbeat);
      transports.add(transport);
      transport.onClose(hold(request));
      // Too large, not UTF-8, not a WebSocket's bytes: `ws` closes with the code for it.
      ws.on("error", () => {});
      ws.on("ping", (data) => {
        if (transport.unsentBytes > maxUnsentBytes) transport.terminate();
        else if (transport.isOpen) {
          transport.flush();
          ws.pong(data);
        }
      });
      void new PlainClient(ws, transport, request.headers, this.#options).begin(this.#handshake(request));
    });
  };

  /** Who asks, if the upgrade itself says it. */
  #handshake(request: IncomingMessage): Handshake | undefined {
    const { authenticator, tickets, open } = this.#options;
    const { url = "", headers } = request;
    const query = new URLSearchParams(url.split("?", 2)[1]);
    if (!open && !query.has("ticket") && !isBearer(headers.authorization)) return undefined;
    return {
      identify: () => identify(query, headers, { authenticator, tickets, use: "once" }),
      session: query.get("session"),
      since: query.get("since"),
      installationId: query.get("installationId"),
    };
  }
}
