import { noLogger } from "@carillon/core";
import { expect, test, vi } from "vitest";
import { Patterns } from "../../src/auth/patterns.ts";
import { SessionClaims } from "../../src/auth/session-claims.ts";
import { httpStub, now } from "./kit.ts";

async function application(
  answer: (
    cookie: string,
  ) => { status?: number; body?: unknown; text?: string; headers?: Record<string, string> } | undefined,
) {
  const stub = await httpStub((request, response) => {
    const found = answer(request.headers.cookie ?? "");
    if (found === undefined) return; // never answers
    response.writeHead(found.status ?? 200, found.headers).end(found.text ?? JSON.stringify(found.body));
  });
  const sessions = (more: object = {}) =>
    new SessionClaims({
      url: stub.url,
      claims: { roles: "roles", tenant: "tenant" },
      patterns: new Patterns(),
      logger: noLogger,
      ...more,
    });
  return { ...stub, sessions };
}

const refused = (code: string) => expect.objectContaining({ code });

test("the application says by the cookie who it is; one answer serves for a while", async () => {
  const { sessions, requests } = await application((cookie) => ({
    body: { sub: cookie === "sid=1" ? "alice" : "bob", roles: ["r"], channels: ["chat"] },
  }));
  const claims = sessions();

  const [first, again, other] = [
    await claims.verify("sid=1"),
    await claims.verify("sid=1"),
    await claims.verify("sid=2"),
  ];

  expect([first.user, again.user, other.user]).toEqual(["alice", "alice", "bob"]);
  expect(first.grants.channels("chat")).toBe(true);
  expect(first.expiresMs).toBeGreaterThan(Date.now());
  expect(first.issuedMs).toBeGreaterThan(Date.now() - 5000);
  expect(requests).toHaveLength(2);
});

test("many at once ask once, and after the while the application is asked again", async () => {
  const { sessions, requests } = await application(() => ({ body: { sub: "alice" } }));
  const claims = sessions({ cacheMs: 50 });

  await Promise.all(Array.from({ length: 20 }, () => claims.verify("sid=1")));
  expect(requests).toHaveLength(1);
  await vi.waitFor(async () => {
    await claims.verify("sid=1");
    expect(requests.length).toBeGreaterThan(1);
  });
});

test.each([
  ["401", { status: 401, body: {} }],
  ["403", { status: 403, body: { sub: "alice" } }],
  ["404", { status: 404, text: "no" }],
  ["a redirect to the login page", { status: 302, headers: { location: "/login" }, text: "" }],
  ["no content", { status: 204, text: "" }],
  ["HTML", { text: "<html>" }],
  ["a list", { body: [{ sub: "alice" }] }],
  ["null", { text: "null" }],
  ["no sub", { body: { roles: ["admin"] } }],
  ["an empty sub", { body: { sub: "" } }],
  ["a huge answer", { body: { sub: "alice", x: "y".repeat(70_000) } }],
])("%s is a no, and is not remembered", async (_what, answer) => {
  let open = false;
  const { sessions } = await application(() => (open ? { body: { sub: "alice" } } : answer));
  const claims = sessions();

  await expect(claims.verify("sid=1")).rejects.toThrow(refused("UNAUTHENTICATED"));
  open = true;
  await expect(claims.verify("sid=1")).resolves.toMatchObject({ user: "alice" });
});

test.each([500, 502, 429])("%d is no answer: come back later, nobody is let in", async (status) => {
  const { sessions } = await application(() => ({ status, body: { sub: "alice" } }));

  await expect(sessions().verify("sid=1")).rejects.toThrow(refused("NOT_READY"));
});

test("an application that is away lets nobody in, beyond who was known a moment ago", async () => {
  const { sessions, stop } = await application(() => ({ body: { sub: "alice" } }));
  const claims = sessions();
  await claims.verify("sid=1");

  await stop();

  await expect(claims.verify("sid=1")).resolves.toMatchObject({ user: "alice" });
  await expect(claims.verify("sid=2")).rejects.toThrow(refused("NOT_READY"));
});

test("one that never answers is given up", async () => {
  const { sessions } = await application(() => undefined);

  await expect(sessions().verify("sid=1")).rejects.toThrow(refused("NOT_READY"));
});

test("a session that ended is TOKEN_EXPIRED, also when it was remembered", async () => {
  const { sessions } = await application((cookie) => ({
    body: { sub: "alice", exp: now() + (cookie === "old" ? -31 : -28) },
  }));
  const claims = sessions();

  await expect(claims.verify("old")).rejects.toThrow(refused("TOKEN_EXPIRED"));
  await claims.verify("ending");
  await vi.waitFor(() => expect(claims.verify("ending")).rejects.toThrow(refused("TOKEN_EXPIRED")), {
    timeout: 5000,
    interval: 200,
  });
});

test("a cookie of more than 8 KiB is not passed on", async () => {
  const { sessions, requests } = await application(() => ({ body: { sub: "alice" } }));

  await expect(sessions().verify("x".repeat(9000))).rejects.toThrow(refused("UNAUTHENTICATED"));
  expect(requests).toHaveLength(0);
});
