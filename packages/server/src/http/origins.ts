/**
 * Which web pages may call. Browsers send `Origin` with whatever can change something; anything else (servers, phones, curl)
 * sends none and is judged by its credentials alone. The gateways ask here too.
 */
export function isOriginAllowed(
  origin: string | undefined,
  host: string | undefined,
  allowed: readonly string[],
  /** Where this node's own pages are, when that is another port than the one that was called. */
  pagePort?: number,
): boolean {
  if (origin === undefined) return true;
  if (allowed.includes("*") || allowed.includes(origin.toLowerCase())) return true;
  const url = URL.parse(origin);
  if (url === null || host === undefined || !["http:", "https:"].includes(url.protocol)) return false;
  if (url.host === withoutDefaultPort(host, url.protocol)) return true;
  const own = pagePort === undefined ? null : URL.parse(`http://${host}`);
  return own !== null && url.hostname === own.hostname && portOf(url) === pagePort;
}

/** Whether requests of this page may act with its visitor's cookies: where anybody's page may call, only those that are named. */
export function mayUseCookies(
  origin: string | undefined,
  host: string | undefined,
  allowed: readonly string[],
  pagePort?: number,
): boolean {
  return isOriginAllowed(
    origin,
    host,
    allowed.filter((one) => one !== "*"),
    pagePort,
  );
}

function portOf({ port, protocol }: URL): number {
  return port === "" ? (protocol === "https:" ? 443 : 80) : Number(port);
}

function withoutDefaultPort(host: string, protocol: string): string {
  const lower = host.toLowerCase();
  return protocol === "https:" ? lower.replace(/:443$/, "") : lower.replace(/:80$/, "");
}
