import { readFileSync } from "node:fs";
import { startRedis, startRedisCluster, startSentinel, waitFor } from "@carillon/testkit";
import { describe, expect, onTestFinished, test } from "vitest";
import {
  connectRedis,
  minimalAcl,
  type RedisConnectOptions,
  RedisFeed,
  RedisPresence,
  RedisRoster,
} from "../src/index.ts";
import { idOf, makeNode, message, type TestNode } from "./nodes.ts";

const addresses = (text: string) =>
  text.split(",").map((address) => {
    const [host = "", port] = address.split(":");
    return { host, port: Number(port) };
  });

const hearing = (...nodes: TestNode[]) =>
  waitFor(() => nodes.every(({ bus }) => bus.hearing), { what: "every node to hear the bus", timeoutMs: 20_000 });

async function whole(...nodes: TestNode[]): Promise<void> {
  for (const from of nodes) {
    const tried = new Set<string>();
    await waitFor(
      async () => {
        const { epoch, n } = idOf(await from.log.append([message("whole")]));
        tried.add(`${epoch}-${n}`);
        return nodes.every(({ heard }) => heard.some(({ id }) => tried.has(id)));
      },
      { what: "every node to hear it", timeoutMs: 30_000, everyMs: 50 },
    );
  }
}

describe("with Sentinel", () => {
  test("a failover costs an epoch and nothing else", async () => {
    const sentinels = await startSentinel();
    onTestFinished(() => sentinels.stop());
    const at = { sentinels: addresses(sentinels.addresses), sentinelName: sentinels.name, prefix: "t" };
    const [a, b] = [makeNode("a", at, { appendTimeoutMs: 15_000 }), makeNode("b", at)];
    await hearing(a, b);
    await whole(a, b);
    const before = await a.log.head();

    const master = await sentinels.failover();
    const during = await Promise.all(Array.from({ length: 50 }, (_, i) => a.log.append([message(i)])));

    expect(idOf(during[0] ?? []).epoch).toBeGreaterThan(before.epoch);
    await hearing(a, b);
    await whole(a, b);
    const client = master.client();
    const clients = String(await client.client("LIST"));
    client.disconnect();
    // Nobody stayed with the demoted master (C24).
    for (const role of ["commands", "subscriber"]) expect(clients.split(`name=t:${role}`)).toHaveLength(3);
  });

  test("the master killed is replaced", async () => {
    const sentinels = await startSentinel();
    onTestFinished(() => sentinels.stop());
    const at = { sentinels: addresses(sentinels.addresses), sentinelName: sentinels.name, prefix: "t" };
    const [a, b] = [makeNode("a", at), makeNode("b", at)];
    await hearing(a, b);

    await (await sentinels.master()).kill();

    await whole(a, b);
    await hearing(a, b);
  });
});

describe("with a Cluster", () => {
  test("log, bus and feed are at the slot's owner, and what others publish elsewhere is heard", async () => {
    const cluster = await startRedisCluster();
    onTestFinished(() => cluster.stop());
    const at: RedisConnectOptions = { clusterNodes: addresses(cluster.addresses), prefix: "t" };
    const [a, b] = [makeNode("a", at), makeNode("b", at)];
    await hearing(a, b);
    await whole(a, b);
    const feed = new RedisFeed(a.connections, { channels: ["refresh.trips"], patterns: [] });
    const heard: string[] = [];
    feed.listen({
      message: (channel, text) => heard.push(`${channel} ${text}`),
      mark: ({ mark }) => heard.push(`mark ${mark}`),
      opened: () => heard.push("opened"),
      closed() {},
      interrupted() {},
    });
    await waitFor(() => heard.length > 0, { what: "the feed to open" });
    onTestFinished(() => feed.stop());

    for (const server of cluster.servers) {
      const client = server.client();
      await client.publish("refresh.trips", "X");
      client.disconnect();
    }
    await feed.sendMark({ mark: 1, done: 0 });

    await waitFor(() => heard.length === 5, { what: "all of them and the mark" });
    expect(await a.connections.probe()).toEqual([]);
  });

  test("presence and rosters, whose scripts make up their keys, work too", async () => {
    const cluster = await startRedisCluster();
    onTestFinished(() => cluster.stop());
    const connections = connectRedis({ clusterNodes: addresses(cluster.addresses), prefix: "t" });
    onTestFinished(() => connections.close());
    const [a, b] = [new RedisPresence(connections, { node: "a" }), new RedisPresence(connections, { node: "b" })];
    const roster = new RedisRoster(connections, { name: "nodes", node: "a" });
    const clients = [{ foreground: true, sinceMs: 1 }];

    // The commands' connection may still look for the slot's owner.
    const beat = () => Promise.all([a.beat(), b.beat()]);
    await waitFor(beat, { what: "the Cluster", timeoutMs: 20_000 });
    await a.put(new Map([["u", clients]]));
    await b.put(new Map([["v", clients]]));
    await b.leave(0);
    await roster.say("here");

    expect(await a.sweep()).toEqual(["v"]);
    expect([...(await a.read(["u", "v"])).keys()]).toEqual(["u"]);
    expect(await roster.all()).toEqual(["here"]);
  });
});

describe("with TLS", () => {
  test("a server with an own authority is trusted when that is given", async () => {
    const redis = await startRedis({ tls: true, password: "s3cret/?" });
    onTestFinished(() => redis.stop());
    const tls = { ca: readFileSync(redis.caFile ?? "") };

    const a = makeNode("a", { url: redis.url, tls, prefix: "t" });

    await hearing(a);
    await whole(a);
  });
});

describe("the probe", () => {
  test("finds nothing where all is well, and says where the server is not as it should be", async () => {
    const redis = await startRedis({ args: ["--maxmemory", "100mb", "--maxmemory-policy", "allkeys-lru"] });
    onTestFinished(() => redis.stop());
    const connections = connectRedis({ url: redis.url });
    onTestFinished(() => connections.close());

    const [problem, ...others] = await connections.probe({
      namespaces: ["/trips"],
      channels: ["a"],
      patterns: ["b.*"],
    });

    expect(problem).toMatchObject({ fatal: false, what: expect.stringContaining("allkeys-lru") });
    expect(others).toEqual([]);
  });

  test("names a wrong and a missing password", async () => {
    const redis = await startRedis({ password: "right" });
    onTestFinished(() => redis.stop());
    const [wrong, missing] = [
      connectRedis({ host: "127.0.0.1", port: redis.port, password: "wrong" }),
      connectRedis({ host: "127.0.0.1", port: redis.port }),
    ];
    onTestFinished(() => {
      wrong.close();
      missing.close();
    });

    expect(await wrong.probe()).toEqual([
      expect.objectContaining({ fatal: true, what: expect.stringContaining("refuses") }),
    ]);
    expect(await missing.probe()).toEqual([
      expect.objectContaining({ fatal: true, what: expect.stringContaining("none is set") }),
    ]);
  });

  test("the minimal ACL is enough, and each rule that is left out is named", async () => {
    const redis = await startRedis();
    onTestFinished(() => redis.stop());
    const admin = redis.client();
    onTestFinished(() => admin.disconnect());
    const options = { namespaces: ["/trips"], channels: ["refresh.trips"], patterns: ["trip.*"] };
    const as = (user: string) => {
      const connections = connectRedis({
        host: "127.0.0.1",
        port: redis.port,
        username: user,
        password: "p",
        prefix: "app",
      });
      onTestFinished(() => connections.close());
      return connections;
    };
    const rules = minimalAcl(as("none").names, options);

    await admin.call("ACL", "SETUSER", "minimal", "on", ">p", "resetchannels", ...rules);
    expect(await as("minimal").probe(options)).toEqual([]);
    const node = makeNode("a", {
      host: "127.0.0.1",
      port: redis.port,
      username: "minimal",
      password: "p",
      prefix: "app",
    });
    await hearing(node);
    await whole(node);

    const handshake = [
      "+hello",
      "+auth",
      "+select",
      "+client|setname",
      "+client|setinfo",
      "+unsubscribe",
      "+punsubscribe",
    ];
    for (const rule of rules.filter((name) => !handshake.includes(name))) {
      const user = `without ${rule}`.replaceAll(/[^a-z0-9]/g, "_");
      await admin.call("ACL", "SETUSER", user, "on", ">p", "resetchannels", ...rules.filter((other) => other !== rule));
      const problems = await as(user).probe(options);
      expect(problems.length, rule).toBeGreaterThan(0);
      expect(
        problems.some(({ fix }) => fix.split("   ")[0]?.includes(rule)),
        `${rule}: ${JSON.stringify(problems)}`,
      ).toBe(true);
    }
  });

  test("tells what a Redis is like, as far as it says, and how long a message takes", async () => {
    const redis = await startRedis({ appendonly: "always", args: ["--maxmemory", "100mb"] });
    onTestFinished(() => redis.stop());
    const admin = redis.client();
    onTestFinished(() => admin.disconnect());
    await admin.call("ACL", "SETUSER", "shy", "on", ">p", "~*", "&*", "+@all", "-config");
    const [open, shy] = [
      connectRedis({ url: redis.url }),
      connectRedis({ url: redis.url, username: "shy", password: "p" }),
    ];
    onTestFinished(() => {
      open.close();
      shy.close();
    });

    const facts = await open.inspect();
    const less = await shy.inspect();

    expect(facts).toMatchObject({
      appendFsync: "always",
      snapshots: false,
      persistenceFailed: false,
      maxBytes: 104857600,
    });
    expect(facts.version).toMatch(/^\d+\.\d+/);
    expect(facts.roundTripMs).toBeGreaterThan(0);
    expect(less).toMatchObject({ appendFsync: undefined, snapshots: undefined, maxBytes: 104857600 });
  });

  test("rejects while Redis is away", async () => {
    const connections = connectRedis({ host: "127.0.0.1", port: 1 });
    onTestFinished(() => connections.close());

    await expect(connections.probe()).rejects.toMatchObject({ code: "BUS_UNAVAILABLE" });
    await expect(connections.inspect()).rejects.toMatchObject({ code: "BUS_UNAVAILABLE" });
  });
});
