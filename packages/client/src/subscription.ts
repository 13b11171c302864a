import { ClientError } from "./errors.ts";
import { aborted } from "./signals.ts";
import type { Ready, Subscription } from "./types.ts";

/** `end` is called once, by the application or its signal, whichever comes first. `ready` gets a signal that it has. */
export function subscription(
  ready: (signal: AbortSignal) => Promise<Ready>,
  end: () => void,
  signal?: AbortSignal,
): Subscription {
  const ended = new AbortController();
  const stop = () => {
    if (ended.signal.aborted) return;
    ended.abort(new ClientError("CLOSED", "subscription ended"));
    end();
  };
  const begun = Promise.race([ready(ended.signal), aborted(ended.signal)]);
  begun.catch(() => {}); // whoever doesn't look at it hears of failures by `onError`
  if (signal?.aborted) stop();
  signal?.addEventListener("abort", stop, { signal: ended.signal });
  return Object.assign(stop, { ready: begun });
}
