/** Hooks over a client. Handlers may be written in place: the latest one is called, and nothing connects anew for another one. */
import {
  createContext,
  createElement,
  type ReactElement,
  type ReactNode,
  useContext,
  useEffect,
  useRef,
  useSyncExternalStore,
} from "react";
import type { Client, Gap, Message, Place, Refresh, Status, SubscribeOptions } from "./index.ts";

// biome-ignore lint/suspicious/noExplicitAny: of whatever channels
type AnyClient = Client<any>;

const ClientContext = createContext<AnyClient | undefined>(undefined);

export interface CarillonProviderProps {
  client: AnyClient;
  children?: ReactNode;
}

/** Gives the client to every hook below. Whoever made the client closes it. */
export function CarillonProvider({ client, children }: CarillonProviderProps): ReactElement {
  return createElement(ClientContext.Provider, { value: client }, children);
}

export function useClient<Payloads extends object = Record<string, unknown>>(): Client<Payloads> {
  const client = useContext(ClientContext);
  if (client === undefined) throw new Error("useClient() needs a <CarillonProvider client={…}> above");
  return client as Client<Payloads>;
}

export function useStatus(): Status {
  const client = useClient();
  const status = () => client.status;
  return useSyncExternalStore((onChange) => client.onStatus(onChange), status, status);
}

/** `scope`: a name or a pattern, `*` for all. */
export function useRefresh(namespace: string, scope: string, handler: (refresh: Refresh) => unknown): void {
  const client = useClient();
  const latest = useLatest(handler);
  useEffect(
    () => client.onRefresh(namespace, scope, (refresh) => latest.current(refresh)),
    [client, namespace, scope, latest],
  );
}

/** Without an `onGap`, gaps go to the client's `onError`. `since` counts when the component appears. */
export function useSubscription<T = unknown>(
  channel: string,
  handler: (payload: T, message: Message) => unknown,
  options: Omit<SubscribeOptions, "signal"> = {},
): void {
  const client = useClient();
  const latest = useLatest({ handler, ...options });
  useEffect(() => {
    const { since, onGap, onRefresh } = latest.current;
    return client.subscribe(channel, (payload, message) => latest.current.handler(payload as T, message), {
      since,
      onGap: onGap && ((gap: Gap) => latest.current.onGap?.(gap)),
      onRefresh: onRefresh && ((refresh: Refresh) => latest.current.onRefresh?.(refresh)),
    });
  }, [client, channel, latest]);
}

/** In a room while the component is there. */
export function useRoom(room: string, place: Place): void {
  const client = useClient();
  const { namespace, channel } = place as { namespace?: string; channel?: string };
  useEffect(() => {
    const where = namespace === undefined ? { channel: channel as string } : { namespace };
    return client.join(room, where);
  }, [client, room, namespace, channel]);
}

function useLatest<T>(value: T): { readonly current: T } {
  const latest = useRef(value);
  useEffect(() => {
    latest.current = value;
  });
  return latest;
}
