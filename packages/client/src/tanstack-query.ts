/**
 * Keeps queries right: what a refresh names is invalidated, and so fetched again where it is on screen.
 *
 * Queries so bound need no other reason to fetch: `staleTime: Infinity` says that data is fresh until Carillon says otherwise.
 * What was fetched before Carillon listened is fetched once more, since nobody would have told of a change in between.
 */
import { hashKey, type QueryClient, type QueryKey } from "@tanstack/query-core";
import type { Client, Message, Refresh } from "./index.ts";
import type { Subscription } from "./types.ts";

/** One key, or what says which ones; a key means also all that begin with it. */
export type Keys<Told> = QueryKey | ((told: Told) => readonly QueryKey[]);

/** For every refresh of a namespace, or by scope: `{ "TRIP_*": ["trips"] }`. A gap, or scope `ALL`, invalidates them all. */
export type RefreshKeys = Keys<Refresh> | { readonly [pattern: string]: Keys<Refresh> };

export interface BindOptions {
  /** By channel: what a message, a gap or a refresh there invalidates. For tables that `carillon.watch` publishes. */
  channels?: { readonly [channel: string]: Keys<Partial<Message> & { readonly payload?: unknown }> };
  /** Ends the binding. */
  signal?: AbortSignal;
}

/** What comes together is one refetch. */
const TOGETHER_MS = 20;

/** By namespace: which queries its refreshes invalidate. Call what it returns to end the binding. */
export function bindQueryClient(
  // biome-ignore lint/suspicious/noExplicitAny: of whatever channels
  client: Client<any>,
  queryClient: QueryClient,
  namespaces: { readonly [namespace: string]: RefreshKeys },
  { channels = {}, signal }: BindOptions = {},
): () => void {
  const invalidation = new Invalidation(queryClient);
  const subscriptions: Subscription[] = [];
  for (const [namespace, bound] of Object.entries(namespaces)) {
    const byScope = isKeys(bound) ? { "*": bound } : bound;
    for (const [scope, keys] of Object.entries(byScope)) {
      const onRefresh = (refresh: Refresh) => invalidation.add(keys, refresh);
      const subscription = client.onRefresh(namespace, scope, onRefresh);
      subscription.ready.then(({ id }) => onRefresh({ namespace, scope: "ALL", id }), ignore);
      subscriptions.push(subscription);
    }
  }
  for (const [channel, keys] of Object.entries(channels)) {
    const onChange = (message: Partial<Message> & { payload?: unknown }) => invalidation.add(keys, message);
    const onOther = ({ id }: { id: string }) => onChange({ channel, id });
    const subscription = client.subscribe(channel, (payload, message) => onChange({ ...message, payload }), {
      onGap: onOther,
      onRefresh: onOther,
    });
    subscription.ready.then(onOther, ignore);
    subscriptions.push(subscription);
  }
  const end = () => {
    for (const subscription of subscriptions) subscription();
    invalidation.clear();
  };
  signal?.addEventListener("abort", end, { once: true });
  return end;
}

/** Collects keys for a moment and invalidates each once. */
class Invalidation {
  readonly #queryClient: QueryClient;
  readonly #keys = new Map<string, QueryKey>();
  #timer: ReturnType<typeof setTimeout> | undefined;

  constructor(queryClient: QueryClient) {
    this.#queryClient = queryClient;
  }

  add<Told>(keys: Keys<Told>, told: Told): void {
    for (const key of typeof keys === "function" ? keys(told) : [keys]) this.#keys.set(hashKey(key), key);
    this.#timer ??= setTimeout(() => this.#flush(), TOGETHER_MS);
  }

  clear(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#keys.clear();
  }

  #flush(): void {
    const keys = [...this.#keys.values()];
    this.clear();
    // A fetch that is under way may have read what was before: it is begun anew. One that fails is the query's own to tell.
    for (const queryKey of keys) this.#queryClient.invalidateQueries({ queryKey }).catch(ignore);
  }
}

function isKeys(bound: RefreshKeys): bound is Keys<Refresh> {
  return Array.isArray(bound) || typeof bound === "function";
}

/** Refusals are told by the client's `onError`. */
function ignore(): void {}
