import type { Ready, Subscription } from "./types.ts";

/** `end` is called once, by the application or the signal, whichever comes first. */
export function subscription(ready: Promise<Ready>, end: () => void, signal?: AbortSignal): Subscription {
  let ended = false;
  const stop = () => {
    if (ended) return;
    ended = true;
    signal?.removeEventListener("abort", stop);
    end();
  };
  ready.catch(() => {}); // whoever doesn't look at it hears of failures by `onError`
  if (signal?.aborted) stop();
  else signal?.addEventListener("abort", stop);
  return Object.assign(stop, { ready });
}
