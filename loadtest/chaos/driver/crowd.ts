/** Who the clients are: a mixture of namespaces, transports and habits, the same for the same number. */
import type { ClientSpec } from "./messages.ts";

const users = 20;
const rooms = 5;
const websocket = ["websocket"] as const;
const polling = ["polling"] as const;
const upgrading = ["polling", "websocket"] as const;

type Kind = Pick<ClientSpec, "namespace" | "channels" | "transports"> & Partial<ClientSpec>;

const kinds: readonly Kind[] = [
  { namespace: "/trips", channels: ["trips"], transports: websocket },
  { namespace: "/channels", channels: ["chat", "orders", "trips"], transports: websocket },
  { namespace: "/notifications", channels: ["notifications"], transports: websocket },
  {
    namespace: "/channels",
    channels: ["chat", "chaos.custom", "notifications"],
    transports: websocket,
    asksAgain: false,
  },
  { namespace: "/trips", channels: ["trips"], transports: polling },
  { namespace: "/channels", channels: ["orders", "chaos.big"], transports: websocket },
  { namespace: "/trips", channels: ["trips"], transports: upgrading },
  { namespace: "/channels", channels: ["chat", "orders"], transports: polling, asksAgain: false },
  { namespace: "/trips", channels: ["trips"], transports: websocket, idsAsEvents: true },
  { namespace: "/channels", channels: ["trips", "chaos.custom"], transports: websocket },
];

export function crowd(count: number): ClientSpec[] {
  return Array.from({ length: count }, (_, index) => {
    const kind = kinds[index % kinds.length] as Kind;
    const turn = Math.floor(index / kinds.length);
    return {
      asksAgain: true,
      idsAsEvents: false,
      ...kind,
      name: `c${index}`,
      user: userOf(index),
      // Who joined a room asks again or relies on the promise, half and half.
      ...(kind.namespace === "/trips" && { asksAgain: turn % 2 === 0 }),
      rooms: kind.namespace === "/trips" ? [roomOf(index)] : [],
    };
  });
}

/** Of all clients the number-th has this user; some share one. */
export const userOf = (number: number): string => `u${number % users}`;
export const roomOf = (number: number): string => `trip:${number % rooms}`;
