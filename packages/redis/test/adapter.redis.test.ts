import { createServer } from "node:http";
import { sharedRedis, waitFor } from "@carillon/testkit";
import { Server } from "socket.io";
import { describe, expect, onTestFinished, test } from "vitest";
import { createCarillonAdapter, type RedisConnectOptions } from "../src/index.ts";
import { idOf, makeNode, message, type TestNode } from "./nodes.ts";

interface IoNode extends TestNode {
  io: Server;
}

async function ioNode(nodeId: string, at: RedisConnectOptions): Promise<IoNode> {
  const node = makeNode(nodeId, at);
  const io = new Server(createServer(), {
    adapter: createCarillonAdapter(node.connections, { meter: node.meter, requestsTimeoutMs: 500 }),
  });
  io.of("/trips");
  onTestFinished(() => void io.close());
  await waitFor(() => node.bus.hearing, { what: `${nodeId} to hear the bus` });
  return Object.assign(node, { io });
}

/** What reaches the local sockets of a namespace, seen where the stock adapter hands it on. */
function broadcasts(node: IoNode, namespace: string): unknown[] {
  const seen: unknown[] = [];
  const { adapter } = node.io.of(namespace);
  const encoder = {
    encode(packet: { data: unknown }) {
      seen.push(packet.data);
      return [];
    },
  };
  Object.assign(adapter, { encoder });
  return seen;
}

describe("the adapter", () => {
  test("carries stock broadcasts and requests between nodes, beside the bus", async () => {
    const at = await sharedRedis();
    const [a, b] = [await ioNode("a", at), await ioNode("b", at)];
    const [trips, root] = [broadcasts(b, "/trips"), broadcasts(b, "/")];

    a.io.of("/trips").emit("hello", 1);
    a.io.emit("hi", 2);
    const { n } = idOf(await a.log.append([message("x")]));

    await waitFor(() => trips.length > 0 && root.length > 0, { what: "both broadcasts" });
    expect(trips).toEqual([["hello", 1]]);
    expect(root).toEqual([["hi", 2]]);
    await waitFor(() => b.heard.length === n, { what: "the publication" });
    expect(await a.io.of("/trips").fetchSockets()).toEqual([]);
    expect(
      await a.io
        .of("/trips")
        .serverSideEmitWithAck("none")
        .catch((error) => error.message),
    ).toContain("timeout");
  });

  test("counts and drops what it can't read", async () => {
    const { url, prefix } = await sharedRedis();
    const a = await ioNode("a", { url, prefix });
    const { redis } = a.connections.commands;

    for (const channel of [`${prefix}#/#`, `${prefix}#/trips#`, `${prefix}-request#/trips#`, `${prefix}-response#/#`]) {
      for (const noise of [
        "",
        "C",
        "Cx",
        "H",
        "H1-1",
        "\x93",
        "null",
        '"x"',
        Buffer.from([0x93, 1, 2, 3]),
        Buffer.from([0xc1]),
      ]) {
        await redis.publish(channel, noise);
      }
    }

    await waitFor(() => (a.meter.counts.get("drops adapter_message") ?? 0) > 5, { what: "the drops to be counted" });
    const { n } = idOf(await a.log.append([message("x")]));
    await waitFor(() => a.heard.length === n, { what: "the bus to go on" });
  });

  test("drops and counts what it can't send, and lets the namespace go", async () => {
    const at = await sharedRedis();
    const a = await ioNode("a", at);
    const rejections: unknown[] = [];
    const note = (reason: unknown) => rejections.push(reason);
    process.on("unhandledRejection", note);
    onTestFinished(() => void process.off("unhandledRejection", note));

    a.connections.close();
    await waitFor(() => !a.connections.commands.ready, { what: "the connection to be closed" });
    a.io.emit("nobody hears", 1);
    a.io.of("/trips").disconnectSockets();
    a.io.serverSideEmit("nothing");
    await expect(a.io.fetchSockets()).rejects.toMatchObject({ code: "BUS_UNAVAILABLE" });
    await a.io.of("/trips").adapter.close();

    expect(a.meter.counts.get("drops adapter_publish")).toBe(3);
    await new Promise((resolve) => setImmediate(resolve));
    expect(rejections).toEqual([]);
  });
});
