import { noLogger } from "@carillon/core";
import { expect, test } from "vitest";
import { CredentialsAuthenticator } from "../../src/auth/authenticator.ts";
import { Patterns } from "../../src/auth/patterns.ts";
import { SessionClaims } from "../../src/auth/session-claims.ts";
import { Tokens } from "../../src/auth/tokens.ts";
import { SECRET, sign } from "./kit.ts";

const shared = { claims: { roles: "roles", tenant: "tenant" }, patterns: new Patterns() };
const tokens = new Tokens({ ...shared, secret: SECRET });
const sessions = new SessionClaims({
  ...shared,
  url: "http://app/",
  logger: noLogger,
  fetch: async () => new Response('{"sub":"by-cookie"}'),
});
const none = { loaded: true, isRevoked: () => false };
const make = (more: object = {}) => new CredentialsAuthenticator({ tokens, revocations: none, ...more });
const refused = (code: string, message = "") =>
  expect.objectContaining({ code, message: expect.stringContaining(message) });

test("auth.token and the Authorization header are equals, and must agree", async () => {
  const [one, two] = [await sign({ sub: "1" }), await sign({ sub: "2" })];
  const ask = (auth: object, headers: object = {}) =>
    make().authenticate({ auth: { ...auth }, headers: { ...headers } });

  await expect(ask({ token: one })).resolves.toMatchObject({ user: "1" });
  await expect(ask({}, { authorization: `Bearer ${one}` })).resolves.toMatchObject({ user: "1" });
  await expect(ask({}, { authorization: `bearer  ${one} ` })).resolves.toMatchObject({ user: "1" });
  await expect(ask({ token: one }, { authorization: `Bearer ${one}` })).resolves.toMatchObject({ user: "1" });
  await expect(ask({ token: one }, { authorization: `Bearer ${two}` })).rejects.toThrow(
    refused("UNAUTHENTICATED", "differ"),
  );
});

test.each([
  [{}, {}, "no token"],
  [{ token: "" }, {}, "text"],
  [{ token: {} }, {}, "text"],
  [{ token: ["x"] }, {}, "text"],
  [{ token: 5 }, {}, "text"],
  [{}, { authorization: "Bearer" }, "Bearer"],
  [{}, { authorization: "Bearer a b" }, "Bearer"],
  [{}, { authorization: "Basic YTpi" }, "Bearer"],
  [{}, { authorization: ["Bearer a", "Bearer b"] }, "Bearer"],
  [{}, { cookie: "sid=1" }, "no token"],
])("%j with %j is refused", async (auth, headers, message) => {
  await expect(make().authenticate({ auth, headers })).rejects.toThrow(refused("UNAUTHENTICATED", message));
});

test("the password of a proxy in front is no matter where a token or a session says who it is", async () => {
  const authorization = "Basic YTpi";

  await expect(
    make().authenticate({ auth: { token: await sign() }, headers: { authorization } }),
  ).resolves.toMatchObject({ user: "42" });
  await expect(
    make({ sessions }).authenticate({ auth: {}, headers: { authorization, cookie: "sid=1" } }),
  ).resolves.toMatchObject({ user: "by-cookie" });
});

test("a bad token is never overruled by a cookie", async () => {
  await expect(make({ sessions }).authenticate({ auth: { token: "x" }, headers: { cookie: "sid=1" } })).rejects.toThrow(
    refused("UNAUTHENTICATED"),
  );
  await expect(
    make({ sessions }).authenticate({ auth: {}, headers: { authorization: "Bearer x", cookie: "sid=1" } }),
  ).rejects.toThrow(refused("UNAUTHENTICATED"));
});

test("pages that are not trusted with cookies do not act with them", async () => {
  const strict = make({
    sessions,
    trustsCookies: ({ origin }: { origin?: string }) => origin === "https://app.example",
  });
  const from = (origin: string) => strict.authenticate({ auth: {}, headers: { cookie: "sid=1", origin } });

  await expect(from("https://app.example")).resolves.toMatchObject({ user: "by-cookie" });
  await expect(from("https://evil.example")).rejects.toThrow(refused("UNAUTHENTICATED"));
});

test("a client that takes itself for somebody else is refused", async () => {
  const token = await sign({ sub: "42" });
  const as = (user: unknown) => make().authenticate({ auth: { token, user }, headers: {} });

  for (const user of ["42", 42, undefined, null]) await expect(as(user)).resolves.toMatchObject({ user: "42" });
  for (const user of ["43", "", {}, { toString: 1, valueOf: 1 }, ["42"], true])
    await expect(as(user)).rejects.toThrow(refused("UNAUTHENTICATED", "another user"));
});

test("what was revoked is REVOKED, and nobody is let in before that is known", async () => {
  const token = await sign();

  await expect(
    make({ revocations: { loaded: true, isRevoked: () => true } }).authenticate({ auth: { token }, headers: {} }),
  ).rejects.toThrow(refused("REVOKED"));
  await expect(
    make({ revocations: { loaded: false, isRevoked: () => false } }).authenticate({ auth: { token }, headers: {} }),
  ).rejects.toThrow(refused("NOT_READY"));
});
