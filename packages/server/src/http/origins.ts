/**
 * Which web pages may call. Browsers send `Origin` with whatever can change something; anything else (servers, phones, curl)
 * sends none and is judged by its credentials alone. The gateways ask here too.
 */
export function isOriginAllowed(
  origin: string | undefined,
  host: string | undefined,
  allowed: readonly string[],
): boolean {
  if (origin === undefined) return true;
  if (allowed.includes("*") || allowed.includes(origin.toLowerCase())) return true;
  const url = URL.parse(origin);
  return url !== null && host !== undefined && url.host === withoutDefaultPort(host, url.protocol);
}

function withoutDefaultPort(host: string, protocol: string): string {
  const lower = host.toLowerCase();
  return protocol === "https:" ? lower.replace(/:443$/, "") : lower.replace(/:80$/, "");
}
