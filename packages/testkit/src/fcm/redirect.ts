/**
 * Leads what is for Google's hosts to the stand-in. firebase-admin stays as it is: it believes that it talks to fcm.googleapis.com, and
 * checks a certificate of that name.
 */
import http2 from "node:http2";
import { syncBuiltinESMExports } from "node:module";
import tls from "node:tls";

const HOSTS = /^(?:fcm|oauth2)\.googleapis\.com$/;
const LOCAL = "127.0.0.1";

let port: number | undefined;

/** From now on, in this process; another port replaces the one before. The stand-in's certificate must be trusted in some way. */
export function redirectFcm(to: number): void {
  if (port === undefined) install();
  port = to;
}

/** Trusts it without NODE_EXTRA_CA_CERTS, which only counts at a process's start. */
export function trust(certificate: string): void {
  tls.setDefaultCACertificates([...tls.getCACertificates("default"), certificate]);
}

type Connect = (...args: unknown[]) => unknown;

function install(): void {
  const connect = tls.connect as Connect;
  // What both https.Agent and http2.connect end in.
  tls.connect = ((...args: unknown[]) => {
    const options = args.find((arg): arg is Record<string, unknown> => typeof arg === "object" && arg !== null) ?? {};
    const host = [options.host, options.hostname, args[1]].find((name) => typeof name === "string");
    if (typeof host !== "string" || !HOSTS.test(host)) return connect.apply(tls, args);
    const listener = args.find((arg) => typeof arg === "function");
    return connect.call(tls, { ...options, host: LOCAL, port, servername: host }, listener);
  }) as typeof tls.connect;

  // firebase-admin says ":scheme: https:", with a colon, which Google's servers forgive and Node's don't.
  const connect2 = http2.connect as Connect;
  http2.connect = ((...args: unknown[]) => {
    const session = connect2.apply(http2, args) as http2.ClientHttp2Session;
    const request = session.request;
    session.request = (headers, options) => request.call(session, { ...headers, ":scheme": "https" }, options);
    return session;
  }) as typeof http2.connect;
  syncBuiltinESMExports();
}
