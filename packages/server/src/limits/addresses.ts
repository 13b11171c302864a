/** How many transports one client address has on this node. */
import type { IncomingMessage } from "node:http";
import { BlockList, isIP } from "node:net";
import { CarillonError } from "@carillon/protocol";
import proxyAddress from "@fastify/proxy-addr";
import type { TrustProxy } from "../settings/load.ts";

export interface AddressesOptions {
  /** Absent: `DEFAULT_MAX`, but none for private addresses, unless proxies in front are told apart from clients. */
  readonly max: number | undefined;
  readonly trustProxy: TrustProxy;
}

export const DEFAULT_MAX = 1000;

export class Addresses {
  readonly #options: AddressesOptions;
  readonly #addressOf: (request: IncomingMessage) => string;
  readonly #open = new Map<string, number>();

  constructor(options: AddressesOptions) {
    this.#options = options;
    this.#addressOf = addressReader(options.trustProxy);
  }

  /** Why a handshake from there is refused, if it is. */
  refuse(request: IncomingMessage): CarillonError | undefined {
    const address = this.#addressOf(request);
    if ((this.#open.get(groupOf(address)) ?? 0) < this.#max(address)) return undefined;
    return new CarillonError("TOO_MANY_CONNECTIONS", "too many connections of this address", { retryAfterS: 10 });
  }

  /** Counts a transport. Returns what ends that; calling it twice is harmless. */
  hold(request: IncomingMessage): () => void {
    const group = groupOf(this.#addressOf(request));
    this.#open.set(group, (this.#open.get(group) ?? 0) + 1);
    let held = true;
    return () => {
      if (!held) return;
      held = false;
      const left = (this.#open.get(group) ?? 1) - 1;
      if (left > 0) this.#open.set(group, left);
      else this.#open.delete(group);
    };
  }

  /** Without a word about proxies, a private address is the balancer's more likely than a client's: all clients would share one limit. */
  #max(address: string): number {
    const { max, trustProxy } = this.#options;
    return max ?? (trustProxy === false && isPrivate(address) ? Number.POSITIVE_INFINITY : DEFAULT_MAX);
  }
}

/** The client's address as Fastify finds it for REST: a header counts only where `TRUST_PROXY` trusts who sent it. */
function addressReader(trustProxy: TrustProxy): (request: IncomingMessage) => string {
  if (trustProxy === false) return (request) => request.socket.remoteAddress ?? "";
  const trust =
    typeof trustProxy === "string"
      ? proxyAddress.compile(trustProxy.split(","))
      : (_address: string, hop: number) => trustProxy === true || hop < trustProxy;
  return (request) => proxyAddress(request, trust) ?? "";
}

/** Providers give each IPv6 customer a /64 at least. */
function groupOf(address: string): string {
  const plain = address.replace(/^::ffff:(?=\d+\.)/i, "");
  if (isIP(plain) !== 6) return plain;
  const [head = "", tail] = plain.replace(/%.*$/, "").split("::");
  const first = head === "" ? [] : head.split(":");
  const last = tail === undefined || tail === "" ? [] : tail.split(":");
  const zeros =
    tail === undefined ? [] : Array.from({ length: Math.max(8 - first.length - last.length, 0) }, () => "0");
  return [...first, ...zeros, ...last]
    .slice(0, 4)
    .map((part) => Number.parseInt(part, 16).toString(16))
    .join(":");
}

const PRIVATE = new BlockList();
for (const [net, bits] of [
  ["10.0.0.0", 8],
  ["172.16.0.0", 12],
  ["192.168.0.0", 16],
  ["127.0.0.0", 8],
  ["169.254.0.0", 16],
  ["100.64.0.0", 10],
] as const)
  PRIVATE.addSubnet(net, bits, "ipv4");
for (const [net, bits] of [
  ["fc00::", 7],
  ["fe80::", 10],
  ["::1", 128],
] as const)
  PRIVATE.addSubnet(net, bits, "ipv6");

function isPrivate(address: string): boolean {
  const plain = address.replace(/^::ffff:(?=\d+\.)/i, "");
  const version = isIP(plain);
  return version === 0 || PRIVATE.check(plain, version === 4 ? "ipv4" : "ipv6");
}
