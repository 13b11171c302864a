/** Limits hold for plain WebSockets and streams as they do for Socket.IO's clients. */
import { type NodeServer, startNode, waitFor } from "@carillon/testkit";
import { afterAll, afterEach, beforeAll, expect, test } from "vitest";
import { batch, message } from "./kit.ts";
import { EventStream, PlainSocket } from "./support/plain.ts";

let node: NodeServer;
const opened: { close(): void }[] = [];

beforeAll(async () => {
  node = await startNode({
    MAX_CONNECTIONS: "3",
    MESSAGES_PER_S: "20",
    CONNECTS_PER_S: "5000",
    INGRESS: "rest",
    HIGH_WATER_BYTES: "100000",
    COALESCE_MS: "0",
  });
});
afterEach(async () => {
  for (const one of opened.splice(0)) one.close();
  await waitFor(async () => (await node.metric("carillon_transports")) === 0, { what: "everybody to be gone" });
});
afterAll(() => node?.stop());

function kept<T extends { close(): void }>(one: T): T {
  opened.push(one);
  return one;
}

test("a full node is 503 with Retry-After, at the upgrade and before a stream", async () => {
  const query = { channel: "chat" };
  const plain = kept(await PlainSocket.open(node.url));
  const streams = [1, 2].map(() => kept(new EventStream(node.url, { query })));
  await Promise.all([plain.next("ready"), ...streams.map((stream) => stream.next("ready"))]);

  const socket = kept(new PlainSocket(node.url));
  const { status, headers, text } = await waitFor(() => socket.refusal, { what: "a refusal" });
  const stream = kept(await EventStream.open(node.url, { query }));
  await waitFor(() => stream.ended, { what: "a refusal" });

  expect([status, Number(headers["retry-after"]), JSON.parse(text).code]).toEqual([503, 5, "TOO_MANY_CONNECTIONS"]);
  expect([stream.response?.status, stream.response?.headers.get("retry-after")]).toEqual([503, "5"]);
  expect(JSON.parse(stream.text).code).toBe("TOO_MANY_CONNECTIONS");
});

test("too many frames are refused, whatever is in them, and whoever goes on is closed and may come back later", async () => {
  const plain = kept(await PlainSocket.open(node.url));
  await plain.next("ready");

  for (let i = 0; i < 110; i++) plain.say({ type: "ping" });
  const refused = await plain.next("error");
  for (let i = 0; i < 200; i++) plain.say({ type: "ping" });

  expect(refused).toMatchObject({ code: "RATE_LIMITED", retryAfterS: expect.any(Number) });
  expect(await plain.ended()).toEqual({ code: 4102, reason: "RATE_LIMITED" });
});

test("where clients may not publish, they are told so", async () => {
  const plain = kept(await PlainSocket.open(node.url));

  expect((await plain.ask({ type: "publish", channel: "chat", payload: 1 })).code).toBe("INGRESS_DISABLED");
});

test("who reads too slowly leaves the live path, and has everything in order when it has read on", async () => {
  const plain = kept(await PlainSocket.open(node.url));
  await plain.ask({ type: "subscribe", channel: "big" });
  plain.socket.pause();
  const payload = "x".repeat(20_000);
  const ids: string[] = [];

  await waitFor(
    async () => {
      ids.push(
        ...(await batch(
          node.url,
          Array.from({ length: 10 }, () => ({ channel: "big", payload })),
        )),
      );
      return (await node.metric("carillon_slow_connections")) === 1;
    },
    { what: "it to be slow", everyMs: 100, timeoutMs: 30_000 },
  );
  plain.socket.resume();
  const last = await message(node.url, "big", "last");
  await plain.next("notification", ({ id }) => id === last, 30_000);

  const heard = plain.heard.filter(({ type }) => type !== "subscribed" && type !== "ready");
  expect(heard.map(({ id }) => id)).toEqual([...ids, last]);
});
