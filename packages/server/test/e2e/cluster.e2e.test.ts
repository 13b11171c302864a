/** What operators see of a cluster of three real nodes, of which one drains, one is killed, and Redis goes away. */
import { api, type Client, type Cluster, type NodeServer, startCluster, waitFor } from "@carillon/testkit";
import { afterAll, afterEach, beforeAll, expect, onTestFinished, test } from "vitest";
import type { ChannelsPage } from "../../src/cluster/channels.ts";
import type { NodesView } from "../../src/cluster/nodes.ts";
import { join, message, refresh } from "./kit.ts";

/** The documented bound is 10 s; the rest is for a busy machine. */
const GONE_MS = 30_000;

let cluster: Cluster;
let nodes: NodeServer[];
const clients: Client[] = [];

beforeAll(async () => {
  // So that a drain takes long enough to be seen.
  cluster = await startCluster({ nodes: 3, nginx: false, env: { DRAIN_DELAY_S: "3" } });
  nodes = cluster.nodes;
});
afterEach(() => {
  for (const client of clients.splice(0)) client.close();
});
afterAll(() => cluster?.stop());

async function view(node: NodeServer): Promise<NodesView> {
  const answer = await api(node.url).get("/api/nodes");
  expect(answer.status, answer.text).toBe(200);
  return answer.body;
}

const nameOf = (node: NodeServer): string => String(node.logs.findLast(({ msg }) => msg === "listening")?.node);

function viewed(node: NodeServer, what: string, fits: (view: NodesView) => boolean): Promise<NodesView> {
  return waitFor(
    async () => {
      const found = await view(node);
      return fits(found) && found;
    },
    { what, timeoutMs: GONE_MS, everyMs: 100 },
  );
}

async function come(node: NodeServer, namespace: string, transport: "websocket" | "polling" = "websocket") {
  const client = join(node.url, namespace, transport, { auth: { user: "u" } });
  clients.push(client);
  await client.ready;
  return client;
}

test("every node tells of all three the same: connections, position, readiness, leases, what they did", async () => {
  await come(nodes[0]!, "/trips");
  await come(nodes[1]!, "/channels", "polling");
  const id = await refresh(nodes[2]!.url, "/trips", "A");

  for (const node of nodes) {
    const { nodes: found, complete } = await viewed(
      node,
      "all three at the position",
      ({ nodes: all }) =>
        all.length === 3 &&
        all.every(({ position }) => position === id) &&
        all.some(({ transports }) => transports.polling === 1),
    );
    const by = (of: NodeServer) => found.find(({ name }) => name === nameOf(of));
    expect(complete).toBe(true);
    expect(found.map(({ state, readiness, behind }) => [state, readiness, behind])).toEqual(
      Array(3).fill(["ready", "ok", 0]),
    );
    expect(by(nodes[0]!)).toMatchObject({
      transports: { websocket: 1, polling: 0 },
      connections: { "/trips": 1, "/channels": 0 },
      users: 1,
      roles: ["gateway", "bridge", "push"],
      problems: {},
    });
    expect(found.flatMap(({ leases }) => leases)).toEqual(["redis-ingress"]);
    expect(found.every(({ memory }) => memory.rssBytes > 10_000_000)).toBe(true);
    await viewed(node, "what they did", ({ nodes: all }) => {
      const sum = (key: "publications" | "deliveries") => all.reduce((total, { totals }) => total + totals[key], 0);
      return sum("publications") >= 1 && sum("deliveries") >= 1;
    });
  }
});

test("channels are counted over the cluster, busiest first", async () => {
  for (const node of nodes) {
    const client = await come(node, "/channels");
    expect(await client.ask("subscribe", { channel: "orders" })).toMatchObject({ ok: true });
  }
  expect(await clients[0]!.ask("subscribe", { channel: "quiet" })).toMatchObject({ ok: true });
  for (let i = 0; i < 10; i++) await message(nodes[0]!.url, "orders", i);

  for (const node of nodes) {
    const page = await waitFor(
      async () => {
        const { body }: { body: ChannelsPage } = await api(node.url).get("/api/channels?limit=200");
        const orders = body.channels.find(({ channel }) => channel === "orders");
        const quiet = body.channels.find(({ channel }) => channel === "quiet");
        return orders?.subscribers === 3 && quiet?.subscribers === 1 && body;
      },
      { what: "the subscribers of all nodes", timeoutMs: GONE_MS },
    );
    expect(page.complete).toBe(true);
    expect(page.channels[0]).toMatchObject({ channel: "orders" });
    expect(page.channels[0]!.perSecond).toBeGreaterThan(0);
  }
  const second = (await api(nodes[0]!.url).get("/api/channels?limit=1&offset=1")).body as ChannelsPage;
  expect(second.channels).toHaveLength(1);
  expect(second.channels[0]!.channel).not.toBe("orders");
  expect((await api(nodes[0]!.url).get("/api/channels?limit=0")).status).toBe(422);
});

test("a node that drains says so, and one that was stopped is gone at once", async () => {
  const [a, , c] = nodes as [NodeServer, NodeServer, NodeServer];
  const name = nameOf(c);
  onTestFinished(() => c.start());

  const stopped = c.stop();
  await viewed(a, "it to say that it drains", ({ nodes: all }) =>
    all.some((node) => node.name === name && node.state === "draining" && node.readiness === "down"),
  );
  await stopped;

  expect((await view(a)).nodes.map((node) => node.name)).not.toContain(name);
});

test("a node that was killed is gone in time, with its subscribers", async () => {
  const [a, b] = nodes as [NodeServer, NodeServer];
  const name = nameOf(b);
  const client = await come(b, "/channels");
  client.socket.io.reconnection(false);
  await client.ask("subscribe", { channel: "only-there" });
  const subscribers = async () => {
    const { body }: { body: ChannelsPage } = await api(a.url).get("/api/channels?limit=500");
    return body.channels.find(({ channel }) => channel === "only-there")?.subscribers ?? 0;
  };
  await waitFor(async () => (await subscribers()) === 1, { what: "the other node's subscriber", timeoutMs: GONE_MS });

  await b.kill();
  onTestFinished(() => b.start());

  await viewed(a, "it to be gone", ({ nodes: all }) => all.every((node) => node.name !== name));
  await waitFor(async () => (await subscribers()) === 0, { what: "its subscribers to be gone", timeoutMs: GONE_MS });
});

test("while Redis is away a node answers for itself, and says that it does", async () => {
  await cluster.redis!.kill();
  onTestFinished(async () => void (await cluster.redis!.start()));

  const alone = await viewed(nodes[0]!, "the answer for one", ({ complete }) => !complete);

  expect(alone.nodes).toHaveLength(1);
  expect(alone.nodes[0]).toMatchObject({ name: nameOf(nodes[0]!) });
  expect((await api(nodes[0]!.url).get("/api/channels")).body.complete).toBe(false);
});
