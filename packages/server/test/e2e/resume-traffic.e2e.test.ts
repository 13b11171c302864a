/** Guarantees 1 and 2 under way: clients that lose their connection again and again while publications go on. */
import { api, type NodeServer, type RedisServer, startNode, startRedis, waitFor } from "@carillon/testkit";
import { afterAll, beforeAll, expect, test } from "vitest";
import { batch, compareIds, ids, join, moveTo, TRANSPORTS } from "./kit.ts";

let redis: RedisServer;
let nodes: NodeServer[];

beforeAll(async () => {
  redis = await startRedis();
  const env = { REDIS_URL: redis.url, COALESCE_MS: "0", ROLES: "gateway", CONNECTS_PER_S: "5000" };
  nodes = await Promise.all([startNode(env), startNode(env), startNode(env)]);
});
afterAll(async () => {
  await Promise.all(nodes.map((node) => node.stop()));
  await redis.stop();
});

test("nothing is lost, doubled or out of order for clients that reconnect in a loop while 200 a second are published", async () => {
  const clients = Array.from({ length: 12 }, (_, n) =>
    join(nodes[n % 3]!.url, "/channels", TRANSPORTS[n % 2 === 0 ? 0 : 1]),
  );
  await Promise.all(clients.map(({ ready }) => ready));
  for (const client of clients)
    expect(await client.ask("subscribe", { channel: "orders" })).toMatchObject({ ok: true });
  let publishing = true;
  const published: string[] = [];
  const publisher = (async () => {
    for (let n = 0; publishing; n++) {
      published.push(
        ...(await batch(
          nodes[n % 3]!.url,
          Array.from({ length: 4 }, (_, k) => ({ channel: "orders", payload: { n, k } })),
        )),
      );
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  })();
  let cuts = 0;
  const cutters = clients.map(async (client, n) => {
    for (let round = 0; publishing; round++) {
      await new Promise((resolve) => setTimeout(resolve, 60 + ((n * 37 + round * 53) % 200)));
      if (!client.socket.connected) continue;
      moveTo(client, nodes[(n + round) % 3]!.url);
      client.socket.io.engine.close();
      cuts++;
    }
  });

  await new Promise((resolve) => setTimeout(resolve, 8000));
  publishing = false;
  await Promise.all([publisher, ...cutters]);

  expect(published.length).toBeGreaterThan(100);
  expect(cuts).toBeGreaterThan(30);
  const last = [...published].sort(compareIds).at(-1)!;
  const state = (client: (typeof clients)[number]) =>
    `${client.socket.connected ? "connected" : "away"} by ${client.socket.io.opts.transports}, ${ids(client.events).length} of ${published.length}, heard last ${JSON.stringify(client.events.slice(-3))}`;
  for (const client of clients) {
    await waitFor(() => ids(client.events).includes(last), {
      what: "the last publication at every client",
      timeoutMs: 30_000,
    }).catch((error) => {
      throw new Error(`${error.message}: ${state(client)}`);
    });
    expect(ids(client.events)).toEqual([...published].sort(compareIds));
    expect(client.events.filter(({ event }) => event === "gap")).toEqual([]);
    client.close();
  }
});

test("a subscription with since has neither a hole nor a double at the seam to live", async () => {
  let publishing = true;
  const published: string[] = [];
  const publisher = (async () => {
    for (let n = 0; publishing; n++)
      published.push(...(await batch(nodes[n % 3]!.url, [{ channel: "seam", payload: n }])));
  })();

  for (let round = 0; round < 60; round++) {
    await waitFor(() => published.length > 5, { what: "publications" });
    const since = published[Math.max(published.length - 10, 0)]!;
    const client = join(nodes[round % 3]!.url, "/channels");
    await client.ready;
    const ack = await client.ask("subscribe", { channel: "seam", since });
    expect(ack).toMatchObject({ ok: true, id: since, recovered: true });
    const target = published.length + 3;
    await waitFor(
      () => client.events.some(({ event, args }) => event === "notification" && args[0].payload >= target),
      { what: "live publications" },
    );
    const payloads = client.events.filter(({ event }) => event === "notification").map(({ args }) => args[0].payload);
    expect(payloads).toEqual(payloads.map((_, i) => payloads[0] + i));
    expect(payloads[0]).toBe(published.indexOf(since) + 1);
    client.close();
  }
  publishing = false;
  await publisher;
});

test("the history over REST agrees with what the clients heard", async () => {
  const page = await api(nodes[0]!.url).get("/api/channels/orders/publications?limit=1000");

  expect(page.body.publications.length).toBeGreaterThan(100);
});
