/**
 * What Engine.IO and Socket.IO keep of a handshake for as long as its connection lives, and nobody reads again: the HTTP request
 * with all that hangs on it is a fifth of an idle connection.
 */
import type { IncomingMessage } from "node:http";
import type { Duplex } from "node:stream";
import type { Socket } from "socket.io";

/** What authentication reads, for namespaces that are entered later. */
const HEADERS = ["authorization", "cookie", "host", "origin"] as const;
const NOTHING = Object.freeze({});
/** TLS ends in front of this process. */
const CONNECTION = Object.freeze({ encrypted: false });

const FORGOTTEN: Socket["handshake"] = Object.freeze({
  headers: NOTHING,
  query: NOTHING,
  auth: NOTHING,
  url: "",
  address: "",
  xdomain: false,
  secure: false,
  time: "",
  issued: 0,
});

/** What Socket.IO reads from a request when a namespace is entered. */
interface Remembered {
  readonly headers: Readonly<Record<string, string>>;
  readonly url: undefined;
  readonly _query: object;
  readonly connection: { readonly encrypted: boolean };
}

/** Of an Engine.IO connection that has just been opened. */
export function forgetRequest(engine: { request: IncomingMessage | Remembered }): void {
  const { headers } = engine.request;
  const kept: Record<string, string> = {};
  for (const name of HEADERS) if (headers[name] !== undefined) kept[name] = headers[name];
  engine.request = { headers: kept, url: undefined, _query: NOTHING, connection: CONNECTION };
}

/** Of a socket that was let in; `auth` may hold a long token. */
export function forgetHandshake(socket: Socket): void {
  (socket as { handshake: Socket["handshake"] }).handshake = FORGOTTEN;
}

/**
 * Runs `upgrade`, in which Engine.IO makes something like a response for the sake of middleware and hangs it, with the request, on
 * the raw socket until that closes. Only one such listener is taken off: any other number is none that we know.
 */
export function upgradeWithoutResponse(socket: Duplex, upgrade: () => void): void {
  const before = new Set(socket.listeners("close"));
  upgrade();
  const [added, ...others] = socket.listeners("close").filter((listener) => !before.has(listener));
  if (added !== undefined && others.length === 0) socket.off("close", added as () => void);
}
