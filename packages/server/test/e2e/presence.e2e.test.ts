/** Who is connected where, on three real nodes of which some are killed, frozen, drained or robbed of Redis' memory. */
import { type Answer, api, type Client, type Cluster, type NodeServer, startCluster, waitFor } from "@carillon/testkit";
import { afterAll, afterEach, beforeAll, expect, onTestFinished, test } from "vitest";
import { join, moveTo } from "./kit.ts";
import { EventStream, PlainSocket } from "./support/plain.ts";
import { total } from "./support/stage.ts";

/** The documented bound is 10 s for reading and 15 s for being told; the rest is for a busy machine. */
const GHOSTS_GONE_MS = 30_000;

let cluster: Cluster;
let nodes: NodeServer[];
const clients: Client[] = [];

beforeAll(async () => {
  cluster = await startCluster({ nodes: 3, nginx: false });
  nodes = cluster.nodes;
});
afterEach(() => {
  for (const client of clients.splice(0)) client.close();
});
afterAll(() => cluster?.stop());

interface Seen {
  online: boolean;
  foreground: boolean;
  clients: { node: string; installationId?: string; foreground: boolean | null; since: string }[];
}

async function presence(user: string, node = nodes[0]!): Promise<Seen> {
  const answer: Answer = await api(node.url).get(`/api/presence/${encodeURIComponent(user)}`);
  expect(answer.status, answer.text).toBe(200);
  return answer.body;
}

async function come(node: NodeServer, user: string, auth: object = {}, namespace = "/trips"): Promise<Client> {
  const client = join(node.url, namespace, "websocket", { auth: { user, ...auth } });
  clients.push(client);
  await client.ready;
  return client;
}

function seen(user: string, what: string, fits: (seen: Seen) => boolean, timeoutMs = 15_000): Promise<Seen> {
  return waitFor(
    async () => {
      const found = await presence(user);
      return fits(found) && found;
    },
    { what, timeoutMs },
  );
}

/** Of which of these users the nodes' logs say that they left, once for each time. */
function leaves(ofTest: RegExp): string[] {
  const told = nodes.flatMap(({ logs }) => logs.filter(({ msg }) => msg === "a user left"));
  return told.map(({ user }) => String(user)).filter((user) => ofTest.test(user));
}

test("a user's tabs and devices are seen from every node, each in the foreground or not", async () => {
  const phone = await come(nodes[0]!, "auth0|é@x", { installationId: "phone-1" });
  await come(nodes[1]!, "auth0|é@x");

  const before = await seen("auth0|é@x", "two clients", ({ clients: found }) => found.length === 2);
  expect(before).toMatchObject({ online: true, foreground: false });
  expect(before.clients.map(({ foreground }) => foreground)).toEqual([null, null]);
  expect(before.clients.map(({ installationId }) => installationId ?? "none").toSorted()).toEqual(["none", "phone-1"]);

  expect(await phone.ask("state", { foreground: true })).toEqual({ ok: true });
  await seen("auth0|é@x", "the foreground", ({ foreground }) => foreground);
  await phone.ask("state", { foreground: false });
  const after = await seen("auth0|é@x", "the background", ({ foreground }) => !foreground);
  expect(after.clients.find(({ installationId }) => installationId === "phone-1")?.foreground).toBe(false);

  expect(await presence("never")).toEqual({ userId: "never", online: false, foreground: false, clients: [] });
});

test("clients of every kind are seen, and gone when they are", async () => {
  const [a, b, c] = nodes as [NodeServer, NodeServer, NodeServer];
  const polling = join(a.url, "/channels", "polling", { auth: { user: "every" } });
  clients.push(polling);
  const plain = await PlainSocket.open(b.url, { query: { user: "every" } });
  const stream = await EventStream.open(c.url, {
    query: { user: "every", channel: "chat", installationId: "kiosk" },
  });
  onTestFinished(() => {
    plain.close();
    stream.close();
  });
  plain.say({ type: "state", foreground: true });

  const all = await seen("every", "all three", (found) => found.clients.length === 3 && found.foreground);
  expect(all.clients.map(({ installationId }) => installationId ?? "none").toSorted()).toEqual([
    "kiosk",
    "none",
    "none",
  ]);

  plain.close();
  await seen("every", "two of them", (found) => found.clients.length === 2 && !found.foreground);
  stream.close();
  polling.close();
  await seen("every", "none of them", ({ online }) => !online);
});

test("an installation id that is none is refused with the reason", async () => {
  const client = join(nodes[0]!.url, "/trips", "websocket", { auth: { user: "u", installationId: { a: 1 } } });
  clients.push(client);

  await expect(client.ready).rejects.toMatchObject({ data: { code: "INVALID_ID" } });
});

test("after a node was killed its users are gone, each left once, and those who came back elsewhere have not left", async () => {
  const [a, b] = nodes as [NodeServer, NodeServer];
  const stays: Client[] = [];
  for (let i = 0; i < 20; i++) stays.push(await come(b, `stays-${i}`));
  for (let i = 0; i < 20; i++) {
    const client = await come(b, `goes-${i}`);
    client.socket.io.reconnection(false);
  }
  await seen("goes-19", "the last of them", ({ online }) => online);
  for (const client of stays) moveTo(client, a.url);

  await b.kill();
  onTestFinished(() => b.start());

  await seen("goes-19", "the ghosts to be gone", ({ online }) => !online, GHOSTS_GONE_MS);
  await waitFor(() => leaves(/^(goes|stays)-/).length >= 20, { what: "everybody's leave", timeoutMs: GHOSTS_GONE_MS });
  for (let i = 0; i < 20; i++) expect((await presence(`stays-${i}`)).online, `stays-${i}`).toBe(true);
  expect(leaves(/^(goes|stays)-/).toSorted()).toEqual(Array.from({ length: 20 }, (_, i) => `goes-${i}`).toSorted());
  const told = [a, nodes[2]!].flatMap(({ logs }) => logs.filter(({ cause }) => cause === "node_lost"));
  expect(await total([a, nodes[2]!], "carillon_presence_leaves_total", { cause: "node_lost" })).toBe(told.length);
});

test("a node that was frozen for longer than its lease shows its users again, once, when it goes on", async () => {
  const [, , c] = nodes as [NodeServer, NodeServer, NodeServer];
  await come(c, "frozen");
  await seen("frozen", "the user", ({ online }) => online);

  c.freeze();
  await seen("frozen", "the lease to end", ({ online }) => !online, GHOSTS_GONE_MS).finally(() => c.thaw());

  const back = await seen("frozen", "the user again", ({ online }) => online, GHOSTS_GONE_MS);
  expect(back.clients).toHaveLength(1);
});

test("who moves away from a node that is stopped has not left, and who does not come back has, once", async () => {
  const [a, b] = nodes as [NodeServer, NodeServer];
  const moves = await come(b, "moves");
  const stays = await come(b, "stays away");
  stays.socket.io.reconnection(false);
  await seen("stays away", "both", ({ online }) => online);
  await seen("moves", "both", ({ online }) => online);
  moveTo(moves, a.url);

  await b.stop();
  onTestFinished(() => b.start());

  await waitFor(() => leaves(/^stays away$/).length > 0, { what: "the leave", timeoutMs: GHOSTS_GONE_MS });
  await seen("moves", "the one who moved", ({ online }) => online);
  expect(leaves(/^(moves|stays away)$/)).toEqual(["stays away"]);
});

test("after Redis lost everything presence is there again by itself", async () => {
  const [a, b] = nodes as [NodeServer, NodeServer];
  await come(a, "kept-a");
  await come(b, "kept-b", { installationId: "tablet" });
  await seen("kept-b", "both", ({ online }) => online);
  await seen("kept-a", "both", ({ online }) => online);

  const redis = cluster.redis!.client();
  await redis.flushall();
  redis.disconnect();

  await seen("kept-a", "the first again", ({ online }) => online, GHOSTS_GONE_MS);
  const again = await seen("kept-b", "the second again", ({ online }) => online, GHOSTS_GONE_MS);
  expect(again.clients).toMatchObject([{ installationId: "tablet" }]);
});
