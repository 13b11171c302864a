/**
 * The short way to a client: from a finished WebSocket frame to the raw socket, past Engine.IO and `ws`. They have a packet, two
 * events, an array and a write with a callback for each client and event; a broadcast needs none of that.
 *
 * It holds only while nothing else is on its way there, and rests on what Engine.IO and `ws` don't promise; wherever that isn't as
 * expected, the ordinary way is taken. `test/gateway/wire.test.ts` fails when an upgrade has changed it.
 */
import { Socket } from "node:net";
import type { EngineConnection } from "./engine.ts";

const OPEN = 1;

/** The raw socket of a connection that has nothing else to write, if it can be written to directly. */
export function idleSocket({ readyState, transport, writeBuffer }: EngineConnection): Socket | undefined {
  if (!transport.writable || readyState !== "open" || writeBuffer.length > 0) return undefined;
  const { socket } = transport;
  // Anything else speaks another protocol, or compresses.
  if (socket?.readyState !== OPEN || !(socket._socket instanceof Socket) || transport.perMessageDeflate)
    return undefined;
  return socket._socket;
}
