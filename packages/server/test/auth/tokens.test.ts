import { noLogger } from "@carillon/core";
import fc from "fast-check";
import { expect, test, vi } from "vitest";
import { KeySet } from "../../src/auth/key-set.ts";
import { Patterns } from "../../src/auth/patterns.ts";
import { type TokenOptions, Tokens } from "../../src/auth/tokens.ts";
import { httpStub, keyPair, now, part, SECRET, sign } from "./kit.ts";

const shared = { claims: { roles: "roles", tenant: "tenant" }, patterns: new Patterns() };
const tokens = (options: Partial<TokenOptions> = {}) => new Tokens({ ...shared, secret: SECRET, ...options });
const refused = (code: string, message: RegExp | string = "") =>
  expect.objectContaining({
    code,
    message: typeof message === "string" ? expect.stringContaining(message) : expect.stringMatching(message),
  });

test("a token says who it is, what it grants, when it was issued and when it ends", async () => {
  const [iat, exp] = [now() - 10, now() + 60];
  const token = await sign({
    iat,
    exp,
    roles: ["driver"],
    tenant: "acme",
    sid: "s1",
    channels: ["chat", "orders.*"],
    publish: "chat",
    rooms: ["trip:*"],
  });

  const principal = await tokens().verify(token);

  expect(principal).toMatchObject({
    user: "42",
    roles: ["driver"],
    tenant: "acme",
    sid: "s1",
    kind: "user",
    issuedMs: iat * 1000,
    expiresMs: exp * 1000,
  });
  const { channels, publish, rooms } = principal.grants;
  expect([
    channels("chat"),
    channels("orders.eu"),
    channels("orders"),
    publish("chat"),
    publish("orders.eu"),
    rooms("trip:1"),
    rooms("x"),
  ]).toEqual([true, true, false, true, false, true, false]);
});

test("an absent claim grants nothing, and no pattern grants the room of an identity", async () => {
  const plain = await tokens().verify(await sign());
  const all = await tokens().verify(await sign({ rooms: "*" }));

  expect(["chat", "*", ""].map(plain.grants.channels)).toEqual([false, false, false]);
  expect([plain.grants.publish("chat"), plain.grants.rooms("trip:1")]).toEqual([false, false]);
  expect(["trip:1", "user:7", "role:admin", "tenant:t"].map(all.grants.rooms)).toEqual([true, false, false, false]);
});

test.each(["RS256", "ES256", "EdDSA"])(
  "%s is verified by JWT_PUBLIC_KEY, also with \\n for its line ends",
  async (alg) => {
    const pair = await keyPair(alg);
    const token = await sign({}, { alg, key: pair.privateKey });

    for (const publicKey of [pair.pem, pair.pem.replaceAll("\n", "\\n")])
      await expect(tokens({ secret: undefined, publicKey }).verify(token)).resolves.toMatchObject({ user: "42" });
    const other = await keyPair(alg);
    await expect(tokens({ publicKey: other.pem }).verify(token)).rejects.toThrow(refused("UNAUTHENTICATED"));
  },
);

test("a public key is nobody's HMAC secret, and `none` is no algorithm", async () => {
  const pair = await keyPair("RS256");
  const byKey = tokens({ secret: undefined, publicKey: pair.pem });
  const confused = await sign({}, { key: new TextEncoder().encode(pair.pem) });
  const claims = part({ sub: "42", exp: now() + 60 });

  await expect(byKey.verify(confused)).rejects.toThrow(refused("UNAUTHENTICATED", "algorithm"));
  for (const alg of ["none", "None", "NONE", "HS512", "HS384", "RS512", "", null, 1, ["HS256"]]) {
    for (const verifier of [byKey, tokens()])
      for (const signature of ["", "x", part({})])
        await expect(verifier.verify(`${part({ alg })}.${claims}.${signature}`)).rejects.toThrow(
          refused("UNAUTHENTICATED"),
        );
  }
});

test("a key inside the token itself counts for nothing", async () => {
  const pair = await keyPair("ES256");
  const own = await keyPair("ES256");
  const header = {
    alg: "ES256",
    jwk: own.jwk,
    jku: "http://127.0.0.1:1/",
    x5u: "http://127.0.0.1:1/",
    kid: "../../dev/null",
  };
  const [, claims, signature] = (await sign({}, { alg: "ES256", key: own.privateKey })).split(".");

  await expect(tokens({ publicKey: pair.pem }).verify(`${part(header)}.${claims}.${signature}`)).rejects.toThrow(
    refused("UNAUTHENTICATED"),
  );
});

test.each([
  ["another secret", {}, "another-secret-of-the-tests-32-chars", "not valid"],
  ["no exp", { exp: undefined }, SECRET, "exp"],
  ["no sub", { sub: undefined }, SECRET, "sub"],
  ["exp as text", { exp: "4102444800" }, SECRET, "exp"],
  ["an empty sub", { sub: "" }, SECRET, "sub"],
  ["a long sub", { sub: "x".repeat(129) }, SECRET, "sub"],
  ["a sub with a control character", { sub: "a\nb" }, SECRET, "sub"],
  ["an object as sub", { sub: { toString: 1 } }, SECRET, "sub"],
  ["not yet valid", { nbf: now() + 60 }, SECRET, "nbf"],
  ["issued in the future", { iat: now() + 60 }, SECRET, "iat"],
  ["an object as tenant", { tenant: {} }, SECRET, "tenant"],
  ["an object as sid", { sid: {} }, SECRET, "sid"],
])("%s is refused", async (_what, claims, secret, message) => {
  const token = await sign(claims, { key: new TextEncoder().encode(secret) });

  await expect(tokens().verify(token)).rejects.toThrow(refused("UNAUTHENTICATED", message));
});

test("issuer and audience must be the ones that are set", async () => {
  const strict = tokens({ issuer: "https://issuer.example", audience: "carillon" });
  const right = { iss: "https://issuer.example", aud: ["other", "carillon"] };

  await expect(strict.verify(await sign(right))).resolves.toMatchObject({ user: "42" });
  await expect(strict.verify(await sign({ ...right, iss: "https://evil.example" }))).rejects.toThrow(
    refused("UNAUTHENTICATED", "iss"),
  );
  await expect(strict.verify(await sign({ ...right, aud: "other" }))).rejects.toThrow(
    refused("UNAUTHENTICATED", "aud"),
  );
  await expect(strict.verify(await sign({ iss: right.iss }))).rejects.toThrow(refused("UNAUTHENTICATED", "aud"));
});

test("30 seconds of leeway, and TOKEN_EXPIRED after", async () => {
  await expect(tokens().verify(await sign({ exp: now() - 20 }))).resolves.toMatchObject({ user: "42" });
  await expect(tokens().verify(await sign({ exp: now() - 32 }))).rejects.toThrow(refused("TOKEN_EXPIRED"));
});

test("a token that was verified a moment ago still ends in time", async () => {
  vi.useFakeTimers({ toFake: ["Date"] });
  try {
    const verifier = tokens();
    const token = await sign({ exp: now() + 5 });
    await verifier.verify(token);

    vi.setSystemTime(Date.now() + 36_000);

    await expect(verifier.verify(token)).rejects.toThrow(refused("TOKEN_EXPIRED"));
  } finally {
    vi.useRealTimers();
  }
});

test.each([1e10, 1e15, 1e300, Number.MAX_VALUE])("an exp of %d never ends and breaks nothing", async (exp) => {
  const principal = await tokens().verify(await sign({ exp }));

  expect(principal.expiresMs).toBeGreaterThan(Date.now() + 1e11);
});

test("numbers as ids are their decimal text", async () => {
  const principal = await tokens().verify(await sign({ sub: 42, roles: [1, "a", {}, ""], tenant: 7, sid: 9 }));

  expect(principal).toMatchObject({ user: "42", roles: ["1", "a"], tenant: "7", sid: "9" });
});

test("roles and tenant are found by their paths, by names with dots and as text", async () => {
  const by = (roles: string, tenant: string) => tokens({ claims: { roles, tenant } });
  const claims = { realm_access: { roles: ["a"] }, "https://x.example/roles": "b c", org: { id: 5 } };

  expect(await by("realm_access.roles", "org.id").verify(await sign(claims))).toMatchObject({
    roles: ["a"],
    tenant: "5",
  });
  expect(await by("https://x.example/roles", "org.no").verify(await sign(claims))).toMatchObject({
    roles: ["b", "c"],
    tenant: undefined,
  });
  expect(await by("__proto__.constructor", "constructor.name").verify(await sign(claims))).toMatchObject({
    roles: [],
    tenant: undefined,
  });
});

test("a token of more than 16 KiB is refused before anything is computed", async () => {
  const token = await sign({ x: "y".repeat(20_000) });

  await expect(tokens().verify(token)).rejects.toThrow(refused("UNAUTHENTICATED", "too long"));
});

test("no message holds any of the token", async () => {
  const marked = await sign({ sub: undefined, iss: "LEAKME123", aud: "LEAKME123", exp: "LEAKME123" });
  for (const token of [
    marked,
    "LEAKME123",
    "LEAKME123.LEAKME123.LEAKME123",
    `${part({ alg: "LEAKME123" })}.${part({ exp: "LEAKME123" })}.x`,
  ]) {
    const error = await tokens({ issuer: "x" })
      .verify(token)
      .catch((thrown: unknown) => thrown);
    expect(String((error as Error).stack) + JSON.stringify(error)).not.toContain("LEAKME123");
  }
});

test("whatever is presented is verified or refused, with a code", async () => {
  const verifier = tokens();
  const good = await sign();
  const [header = "", claims = "", signature = ""] = good.split(".");
  const mangled = fc.oneof(
    fc.string(),
    fc
      .tuple(
        fc.constantFrom(header, "", "e30"),
        fc.constantFrom(claims, "", "bnVsbA"),
        fc.constantFrom(signature, "", "AA"),
      )
      .map((parts) => parts.join(".")),
    fc.json().map((json) => `${header}.${Buffer.from(json).toString("base64url")}.${signature}`),
    fc.json().map((json) => `${Buffer.from(json).toString("base64url")}.${claims}.${signature}`),
  );

  await fc.assert(
    fc.asyncProperty(mangled, async (token) => {
      const outcome = await verifier.verify(token).catch((error: { code?: string }) => error);
      expect(token === good ? "user" in outcome : (outcome as { code?: string }).code).toBe(
        token === good ? true : "UNAUTHENTICATED",
      );
    }),
    { numRuns: 300 },
  );
});

test("claims of any shape make a principal or are refused as UNAUTHENTICATED", async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.dictionary(
        fc.constantFrom(
          "sub",
          "exp",
          "iat",
          "roles",
          "tenant",
          "sid",
          "channels",
          "publish",
          "rooms",
          "__proto__",
          "constructor",
        ),
        fc.jsonValue(),
      ),
      async (claims) => {
        const token = await sign(claims);
        const outcome = await tokens()
          .verify(token)
          .catch((error: { code?: string }) => error);
        if ("user" in outcome) {
          expect(outcome.user).toMatch(/^.+$/u);
          expect(outcome.roles.every((role) => typeof role === "string" && role !== "")).toBe(true);
        } else expect(["UNAUTHENTICATED", "TOKEN_EXPIRED"]).toContain((outcome as { code?: string }).code);
      },
    ),
    { numRuns: 200 },
  );
});

// JWKS

async function issuer(...pairs: readonly { readonly jwk: object }[]) {
  const state = { keys: pairs.map(({ jwk }) => jwk), status: 200 };
  const stub = await httpStub((_request, response) =>
    response.writeHead(state.status).end(JSON.stringify({ keys: state.keys })),
  );
  return { ...stub, state };
}

test("keys of JWKS_URL verify, are cached, and rotation is noticed by a new kid", async () => {
  const [one, two] = [await keyPair("RS256", "one"), await keyPair("ES256", "two")];
  const { url, requests, state } = await issuer(one);
  const keySet = new KeySet({ url, logger: noLogger, cooldownMs: 0 });
  const verifier = tokens({ secret: undefined, keySet });
  const byOne = () => sign({ x: Math.random() }, { alg: "RS256", key: one.privateKey, kid: "one" });

  await verifier.verify(await byOne());
  await verifier.verify(await byOne());
  expect(requests).toHaveLength(1);
  state.keys = [two.jwk];
  await verifier.verify(await sign({}, { alg: "ES256", key: two.privateKey, kid: "two" }));

  expect(requests).toHaveLength(2);
  await expect(verifier.verify(await byOne())).rejects.toThrow(refused("UNAUTHENTICATED"));
});

test("unknown key ids make a node ask at most once per cool-down, however many there are", async () => {
  const pair = await keyPair("ES256", "one");
  const { url, requests } = await issuer(pair);
  const verifier = tokens({ keySet: new KeySet({ url, logger: noLogger }) });
  await verifier.verify(await sign({}, { alg: "ES256", key: pair.privateKey, kid: "one" }));

  const forged = await Promise.all(
    Array.from({ length: 50 }, (_, i) => sign({}, { alg: "ES256", key: pair.privateKey, kid: `forged${i}` })),
  );
  for (const token of forged) await expect(verifier.verify(token)).rejects.toThrow(refused("UNAUTHENTICATED"));

  expect(requests.length).toBeLessThanOrEqual(2);
});

test("while the issuer is away its keys go on serving, and without any it is a matter of coming back", async () => {
  const pair = await keyPair("ES256", "one");
  const { url, stop, start, state } = await issuer(pair);
  const token = (claims = {}) => sign(claims, { alg: "ES256", key: pair.privateKey, kid: "one" });
  const warm = tokens({ keySet: new KeySet({ url, logger: noLogger, cooldownMs: 0, maxAgeMs: 0 }) });
  await warm.verify(await token());

  await stop();

  await expect(warm.verify(await token({ a: 1 }))).resolves.toMatchObject({ user: "42" });
  const cold = tokens({ keySet: new KeySet({ url, logger: noLogger }) });
  await expect(cold.verify(await token())).rejects.toThrow(refused("NOT_READY"));
  await start();
  state.keys = [];
  await expect(warm.verify(await token({ a: 2 }))).resolves.toMatchObject({ user: "42" });
  state.status = 500;
  await expect(warm.verify(await token({ a: 3 }))).resolves.toMatchObject({ user: "42" });
});

test("a symmetric key in a key set verifies nothing", async () => {
  const { url } = await issuer({
    jwk: { kty: "oct", k: Buffer.from(SECRET).toString("base64url"), alg: "HS256", kid: "one" },
  });
  const verifier = tokens({ secret: undefined, keySet: new KeySet({ url, logger: noLogger }) });

  await expect(verifier.verify(await sign({}, { kid: "one" }))).rejects.toThrow(
    refused("UNAUTHENTICATED", "algorithm"),
  );
});
