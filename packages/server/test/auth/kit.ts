/** Tokens as an application would issue them. */
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { type CryptoKey, exportJWK, exportSPKI, generateKeyPair, type JWTPayload, SignJWT } from "jose";
import { onTestFinished } from "vitest";

export const SECRET = "a-secret-of-the-tests-with-32-characters";
export const now = (): number => Math.floor(Date.now() / 1000);

export interface SignOptions {
  readonly alg?: string;
  readonly key?: CryptoKey | Uint8Array;
  readonly kid?: string;
}

/** With `sub` and `exp` in five minutes unless they are given; `undefined` leaves one out. */
export async function sign(claims: Record<string, unknown> = {}, options: SignOptions = {}): Promise<string> {
  const { alg = "HS256", key = new TextEncoder().encode(SECRET), kid } = options;
  const payload = JSON.parse(JSON.stringify({ sub: "42", iat: now(), exp: now() + 300, ...claims })) as JWTPayload;
  return new SignJWT(payload).setProtectedHeader({ alg, ...(kid !== undefined && { kid }) }).sign(key);
}

export interface Pair {
  readonly alg: string;
  readonly privateKey: CryptoKey;
  readonly pem: string;
  readonly jwk: object;
}

export async function keyPair(alg: string, kid?: string): Promise<Pair> {
  const { privateKey, publicKey } = await generateKeyPair(alg, { extractable: true });
  const jwk = { ...(await exportJWK(publicKey)), alg, use: "sig", ...(kid !== undefined && { kid }) };
  return { alg, privateKey, pem: await exportSPKI(publicKey), jwk };
}

export const part = (value: unknown): string => Buffer.from(JSON.stringify(value)).toString("base64url");

export interface HttpStub {
  readonly url: string;
  /** As they came. */
  readonly requests: IncomingMessage[];
  stop(): Promise<void>;
  start(): Promise<void>;
}

/** An application's or an issuer's server, in this process. */
export async function httpStub(
  answer: (request: IncomingMessage, response: ServerResponse) => void,
): Promise<HttpStub> {
  const requests: IncomingMessage[] = [];
  const server = createServer((request, response) => {
    requests.push(request);
    answer(request, response);
  });
  const listen = (port: number) => new Promise<void>((resolve) => void server.listen(port, "127.0.0.1", resolve));
  const stop = () => {
    server.closeAllConnections();
    return new Promise<void>((resolve) => void server.close(() => resolve()));
  };
  await listen(0);
  const { port } = server.address() as AddressInfo;
  onTestFinished(stop);
  return { url: `http://127.0.0.1:${port}/`, requests, stop, start: () => listen(port) };
}
