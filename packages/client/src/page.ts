/** What of a browser matters to a connection. In Node there is none of it, and in a worker only the network. */
interface Globals {
  readonly document?: Target & { readonly visibilityState: string };
  readonly navigator?: { readonly onLine?: boolean };
  readonly addEventListener?: Target["addEventListener"];
}

interface Target {
  addEventListener(event: string, listener: () => void, options: { signal: AbortSignal }): void;
}

const page = globalThis as unknown as Globals;

export function isOnline(): boolean {
  return page.navigator?.onLine !== false;
}

/** `undefined` where there is no page to look at. */
export function isForeground(): boolean | undefined {
  return page.document && page.document.visibilityState !== "hidden";
}

/** Calls `onChange` when the page is shown, hidden or restored, and when the network comes or goes. */
export function watchPage(onChange: () => void, signal: AbortSignal): void {
  page.document?.addEventListener("visibilitychange", onChange, { signal });
  for (const event of ["online", "offline", "pageshow"]) page.addEventListener?.(event, onChange, { signal });
}
