/** Tokens: renewed before they end, asked for anew when the server refuses one, and no loop where that is hopeless. */
import { createHmac } from "node:crypto";
import { api, type NodeServer, startNode, waitFor } from "@carillon/testkit";
import { afterAll, afterEach, beforeAll, expect, test } from "vitest";
import { type Client, type ClientError, type ClientOptions, createClient } from "../src/index.ts";
import { QUICK } from "./kit.ts";

const SECRET = "a secret of the tests, long enough for HS256";
const OPERATOR = { authorization: "Bearer ops-secret" };

let node: NodeServer;
const open: Client[] = [];

beforeAll(async () => {
  node = await startNode({
    AUTH: "on",
    JWT_SECRET: SECRET,
    API_KEYS: "ops:ops-secret:operate,web:web-secret",
    NAMESPACE_ROLES: "users=admin",
  });
});
afterEach(() => {
  for (const client of open.splice(0)) client.close();
});
afterAll(() => node?.stop());

function sign(claims: Record<string, unknown> = {}, secret = SECRET): string {
  const now = Math.floor(Date.now() / 1000);
  const part = (value: unknown) => Buffer.from(JSON.stringify(value)).toString("base64url");
  const body = { sub: "42", iat: now, exp: now + 3600, channels: ["chat"], jti: Math.random(), ...claims };
  const text = `${part({ alg: "HS256", typ: "JWT" })}.${part(body)}`;
  return `${text}.${createHmac("sha256", secret).update(text).digest("base64url")}`;
}

function create(token: ClientOptions["token"], more: ClientOptions = {}) {
  const errors: ClientError[] = [];
  const client = createClient({
    url: node.url,
    socket: QUICK,
    onError: (error) => errors.push(error),
    ...(token !== undefined && { token }),
    ...more,
  });
  open.push(client);
  return { client, errors };
}

const seconds = (s: number) => Math.floor(Date.now() / 1000) + s;

test("a token is renewed before it ends, on the connection that is there", async () => {
  const asked: string[] = [];
  const { client, errors } = create(() => {
    const token = sign({
      exp: seconds(asked.length === 0 ? 8 : 3600),
      channels: asked.length === 0 ? ["chat"] : ["news"],
    });
    asked.push(token);
    return Promise.resolve(token);
  });
  const trips = client.onRefresh("trips", () => {});
  await trips.ready;
  const states: string[] = [];
  client.onStatus(({ state }) => states.push(state));

  await waitFor(() => asked.length === 2, { what: "the token to be asked for again" });
  // What only the second token grants, on the same connection.
  await waitFor(() => client.subscribe("news", () => {}).ready, { what: "the new rights", everyMs: 300 });

  expect(states).toEqual([]);
  expect(errors.filter(({ code }) => code !== "FORBIDDEN")).toEqual([]);
});

test("a token that the server calls expired is asked for once more, by all namespaces together", async () => {
  let asked = 0;
  // By the device's clock it is still good: the server's word counts.
  const expired = sign({ exp: seconds(-60), iat: seconds(600) });
  const { client } = create(async () => (++asked === 1 ? expired : sign()));

  await Promise.all([
    client.onRefresh("trips", () => {}).ready,
    client.onRefresh("notifications", () => {}).ready,
    client.subscribe("chat", () => {}).ready,
  ]);

  expect(asked).toBe(2);
  expect(client.status).toMatchObject({ state: "connected" });
});

test("where every token is expired or wrong it gives up and says so, until the application tries again", async () => {
  let asked = 0;
  const hopeless = create(() => {
    asked++;
    return sign({ exp: seconds(-60), iat: seconds(600) });
  });
  const forged = create(sign({}, "another secret of the tests, just as long"));
  let secret = "another secret of the tests, just as long";
  const mended = create(() => sign({}, secret));
  const clients = [hopeless, forged, mended];

  const outcomes = await Promise.all(
    clients.map(({ client }) => client.onRefresh("trips", () => {}).ready.catch((error) => error.code)),
  );
  const asks = asked;
  const statuses = clients.map(({ client }) => client.status);
  secret = SECRET;
  mended.client.connect();
  await waitFor(() => mended.client.status.state === "connected", { what: "the second try" });

  expect(outcomes).toEqual(["TOKEN_EXPIRED", "UNAUTHENTICATED", "UNAUTHENTICATED"]);
  expect(statuses).toEqual(outcomes.map((code) => ({ state: "refused", code })));
  expect(asks).toBeLessThanOrEqual(6);
  expect(clients.map(({ errors }) => errors.map(({ code }) => code))).toEqual(outcomes.map((code) => [code]));
});

test("a revoked user stays away and knows why", async () => {
  let asked = 0;
  const token = sign({ sub: "revoked", iat: seconds(-10) });
  const { client, errors } = create(() => {
    asked++;
    return token;
  });
  await client.onRefresh("trips", () => {}).ready;

  const answer = await api(node.url).delete("/api/users/revoked/connections?reason=left", undefined, OPERATOR);
  await waitFor(() => client.status.state === "refused", { what: "the refusal" });

  expect(answer.status).toBeLessThan(300);
  expect(client.status).toEqual({ state: "refused", code: "REVOKED" });
  expect(errors.map(({ code }) => code)).toEqual(["REVOKED"]);
  expect(asked).toBe(1);
});

test("a namespace and a channel that are not for this user are refused, and the others go on", async () => {
  const { client, errors } = create(sign());
  const misnamed = create(sign(), { installationId: "a\u0000name" }).client;

  const outcomes = await Promise.allSettled([
    client.onRefresh("users", () => {}).ready,
    client.subscribe("orders", () => {}).ready,
    client.onRefresh("trips", () => {}).ready,
    client.subscribe("chat", () => {}).ready,
    client.publish("chat", "hi"),
  ]);

  const codes = outcomes.map((outcome) => (outcome.status === "rejected" ? outcome.reason.code : "ok"));
  expect(codes).toEqual(["FORBIDDEN", "FORBIDDEN", "ok", "ok", "FORBIDDEN"]);
  expect(await misnamed.onRefresh("trips", () => {}).ready.catch(({ code }) => code)).toBe("INVALID_ID");
  expect(errors.map(({ code }) => code)).toEqual(["FORBIDDEN", "FORBIDDEN"]);
  expect(client.status).toMatchObject({ state: "connected" });
});

test("a token source that fails is asked again, later and later, and told of", async () => {
  let asked = 0;
  const { client, errors } = create((signal) => {
    expect(signal.aborted).toBe(false);
    if (++asked < 3) throw new Error("the login service is away");
    return sign();
  });

  await client.onRefresh("trips", () => {}).ready;

  expect(errors.map(({ code, cause }) => [code, (cause as Error).message])).toEqual(
    Array(2).fill(["TOKEN_SOURCE_FAILED", "the login service is away"]),
  );
});

test("a namespace that a renewed token no longer opens is refused with the code, where stock clients only hear that they were cut off", async () => {
  let asked = 0;
  const { client, errors } = create(() =>
    asked++ === 0 ? sign({ roles: ["admin"], exp: seconds(8) }) : sign({ roles: [] }),
  );
  const users = client.onRefresh("users", () => {});
  const trips = client.onRefresh("trips", () => {});
  await Promise.all([users.ready, trips.ready]);

  await waitFor(() => errors.length > 0, { what: "the refusal", timeoutMs: 20_000 });

  expect(errors.map(({ code }) => code)).toEqual(["FORBIDDEN"]);
  expect(client.status).toMatchObject({ state: "connected" });
});
