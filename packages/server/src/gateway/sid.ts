import { createHash, randomBytes } from "node:crypto";
import type { IncomingMessage } from "node:http";

/**
 * Engine.IO session ids that say which node has the session, so that a balancer can keep a polling client there without a cookie:
 * `<route>.<random>`. Stock clients send the id with every request. `undefined` when `route` is `off`: Engine.IO's own ids will do.
 *
 * `auto` is the address at which the handshake reached this node, as nginx names a server of an upstream (`sticky route`): the MD5
 * of `address:port`. It needs no setting per node, fits a host with several networks, and tells nobody an address.
 */
export function sessionIds(route: string): ((request: IncomingMessage) => string) | undefined {
  if (route === "off") return undefined;
  if (route !== "auto") return () => `${route}.${unguessable()}`;
  const names = new Map<string, string>();
  return ({ socket: { localAddress, localPort } }) => {
    if (localAddress === undefined) return unguessable(); // the client is gone already
    const endpoint = endpointOf(localAddress, localPort);
    let name = names.get(endpoint);
    if (name === undefined) {
      name = createHash("md5").update(endpoint).digest("hex");
      names.set(endpoint, name); // as many as this host has addresses
    }
    return `${name}.${unguessable()}`;
  };
}

function endpointOf(address: string, port: number | undefined): string {
  const v4 = address.replace(/^::ffff:/, "");
  return v4.includes(":") ? `[${v4}]:${port}` : `${v4}:${port}`;
}

/** An id is all that a polling request proves itself with. */
export function unguessable(): string {
  return randomBytes(15).toString("base64url");
}
