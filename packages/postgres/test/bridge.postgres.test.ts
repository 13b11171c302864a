import type { FeedListener, Mark } from "@carillon/core";
import { databaseUrl, queryAt, startPostgres, startProxy, waitFor } from "@carillon/testkit";
import { describe, expect, onTestFinished, test } from "vitest";
import { migrate } from "../src/migrate.ts";
import type { NotifyFeed } from "../src/notify-feed.ts";
import { connectTo, migratedDatabase, newBridge, RecordingLog, RecordingMeter, runningBridge } from "./support.ts";

class Heard implements FeedListener {
  readonly events: string[] = [];
  readonly messages: [string, string][] = [];
  readonly marks: Mark[] = [];

  message(channel: string, text: string): void {
    this.messages.push([channel, text]);
  }
  mark(mark: Mark): void {
    this.marks.push(mark);
  }
  opened(channel: string): void {
    this.events.push(`opened ${channel}`);
  }
  closed(channel: string): void {
    this.events.push(`closed ${channel}`);
  }
  interrupted(): void {
    this.events.push("interrupted");
  }
}

const bridgePids = (url: string) =>
  queryAt<{ pid: number; state: string }>(
    url,
    "select pid, state from pg_stat_activity where application_name = 'carillon-bridge' and datname = current_database()",
  );

describe("NOTIFY", () => {
  test("is heard on exactly the channel of the same spelling", async () => {
    const url = await migratedDatabase();
    const bridge = await runningBridge(url, new RecordingLog());
    const heard = new Heard();
    bridge.feed.listen(heard);
    await queryAt(url, "create table canary ()");
    const channels = [
      "OrderEvents",
      "ORDERS",
      "orders",
      "order.updated",
      "room-7",
      "tenant:42",
      "my chan",
      'o"k',
      "é😀",
    ];
    const hostile = 'x"; DROP TABLE canary; --';

    await bridge.setListenChannels([...channels, hostile]);
    for (const channel of [...channels, hostile, "Orders"])
      await queryAt(url, "select pg_notify($1, $2)", [channel, `to ${channel}`]);
    await queryAt(url, "notify OrderEvents, 'folded'; notify ORDERS, 'folded'");

    await waitFor(() => heard.messages.length >= channels.length + 2, { what: "the messages" });
    expect(heard.messages).toEqual([
      ...[...channels, hostile].map((channel) => [channel, `to ${channel}`]),
      ["orders", "folded"],
    ]);
    await queryAt(url, "select * from canary");
  });

  test("what Postgres would cut, or what is our own, is not listened to", async () => {
    const url = await migratedDatabase();
    const meter = new RecordingMeter();
    const bridge = await runningBridge(url, new RecordingLog(), { meter });

    await bridge.setListenChannels(["a".repeat(64), "", "a\0b", "carillon_hint", "é".repeat(32), "b".repeat(63)]);

    expect(bridge.state.listening).toBe(1);
    expect(meter.counts.get("drops:listen_name")).toBe(5);
  });

  test("many channels come and go on one connection", async () => {
    const url = await migratedDatabase();
    const bridge = await runningBridge(url, new RecordingLog());
    const heard = new Heard();
    bridge.feed.listen(heard);
    const names = Array.from({ length: 500 }, (_, i) => `room.${i}`);

    const first = bridge.setListenChannels(names);
    const second = bridge.setListenChannels(names.slice(250));
    await Promise.all([first, second, bridge.setListenChannels([...names.slice(250), "last"])]);
    await queryAt(url, "select pg_notify('room.1', 'no'), pg_notify('room.499', 'yes'), pg_notify('last', 'yes')");

    await waitFor(() => heard.messages.length >= 2, { what: "two messages" });
    expect(heard.messages).toEqual([
      ["room.499", "yes"],
      ["last", "yes"],
    ]);
    expect(bridge.state.listening).toBe(251);
    expect(await bridgePids(url)).toHaveLength(1);
  });

  test("marks go through the feed; forged ones from the far future do not", async () => {
    const url = await migratedDatabase();
    const meter = new RecordingMeter();
    const bridge = await runningBridge(url, new RecordingLog(), { meter });
    const heard = new Heard();
    bridge.feed.listen(heard);

    await bridge.feed.sendMark({ mark: 5, done: 3 });
    await queryAt(
      url,
      `select pg_notify('carillon_mark', '{"mark":9007199254740991,"done":1}'), pg_notify('carillon_mark', 'x')`,
    );
    await bridge.feed.sendMark({ mark: 6, done: 3 });

    await waitFor(() => heard.marks.length >= 2, { what: "two marks" });
    expect(heard.marks).toEqual([
      { mark: 5, done: 3 },
      { mark: 6, done: 3 },
    ]);
    expect(meter.counts.get("drops:feed_mark")).toBe(2);
  });

  test("a connection that is lost interrupts the feed and opens its channels again", async () => {
    const url = await migratedDatabase();
    const bridge = await runningBridge(url, new RecordingLog());
    const heard = new Heard();
    bridge.feed.listen(heard);
    await bridge.setListenChannels(["chat"]);

    for (const { pid } of await bridgePids(url)) await queryAt(url, "select pg_terminate_backend($1)", [pid]);

    await waitFor(() => heard.events.length === 3, { what: "LISTEN to hold again" });
    expect(heard.events).toEqual(["opened chat", "interrupted", "opened chat"]);
  });

  test("a LISTEN that Postgres lost is noticed by the heartbeat, and the connection made anew", async () => {
    const url = await migratedDatabase();
    const heard = new Heard();
    const bridge = await runningBridge(url, new RecordingLog());
    bridge.feed.listen(heard);
    await bridge.setListenChannels(["chat"]);
    const feed = bridge.feed as NotifyFeed;
    // Nobody else can UNLISTEN for a session: as if LISTEN had been answered and forgotten.
    (feed.channels as Set<string>).add("never listened to");

    await waitFor(() => heard.events.includes("interrupted"), { what: "the heartbeat to notice" });

    await waitFor(() => bridge.state.listening === 1, { what: "LISTEN to hold again" });
  });
});

test("a backend that is terminated costs nothing and comes back", async () => {
  const url = await migratedDatabase();
  const log = new RecordingLog();
  const bridge = await runningBridge(url, log);
  const terminate = async () => {
    for (const { pid } of await bridgePids(url)) await queryAt(url, "select pg_terminate_backend($1)", [pid]);
  };

  for (let i = 0; i < 300; i++) {
    await queryAt(url, "select carillon.publish('chat', to_jsonb($1::int))", [i]);
    if (i % 60 === 30) await terminate();
  }

  const published = await log.waitForPublications(300);
  expect(published.map(({ payload }) => Number(payload))).toEqual([...Array(300).keys()]);
  await waitFor(() => bridge.state.holdsLease, { what: "the lease" });
});

test.each(["fast", "immediate"] as const)("Postgres restarted (%s) loses nothing", async (mode) => {
  const postgres = await startPostgres();
  onTestFinished(() => postgres.stop());
  const url = await postgres.createDatabase();
  await migrate(url, { logger: { debug() {}, info() {}, warn() {}, error() {} } });
  const log = new RecordingLog();
  const bridge = await runningBridge(url, log);
  const heard = new Heard();
  bridge.feed.listen(heard);
  await bridge.setListenChannels(["chat"]);

  for (let round = 0; round < 3; round++) {
    await queryAt(url, "select carillon.publish('chat', to_jsonb(g)) from generate_series($1::int, $2::int) g", [
      ...[round * 700 + 1, round * 700 + 700],
    ]);
    await postgres.restart(mode);
  }

  const published = await log.waitForPublications(2100, "chat", 30_000);
  expect(published.map(({ payload }) => Number(payload))).toEqual([...Array(2100).keys()].map((n) => n + 1));
  expect(await log.gaps()).toBe(0);
  await waitFor(() => bridge.state.listening === 1, { what: "LISTEN to hold again" });
  expect(heard.events).toContain("interrupted");
});

test("a connection that silently goes nowhere is given up within five seconds", async () => {
  const url = await migratedDatabase();
  const proxy = await startProxy(Number(new URL(url).port));
  onTestFinished(() => proxy.close());
  const proxied = new URL(url);
  proxied.port = String(proxy.port);
  const log = new RecordingLog();
  const bridge = await runningBridge(proxied.href, log);
  const other = newBridge(url, log);
  other.start();
  await waitFor(() => other.state.connected, { what: "the other bridge to be connected" });

  const since = performance.now();
  proxy.blackhole();
  await waitFor(() => !bridge.state.connected, { what: "the bridge to step down" });
  expect(performance.now() - since).toBeLessThan(5_000);
  expect(bridge.lease.held).toBe(false);

  // The proxy keeps Postgres's side open, so only idle_session_timeout ends it.
  await waitFor(() => other.state.holdsLease, { what: "the other to take over", timeoutMs: 15_000 });
  await queryAt(url, "select carillon.publish('chat', '1')");
  await log.waitForPublications(1);
  await proxy.restore();
  await waitFor(() => bridge.state.connected, { what: "the bridge to be back" });
});

test("a query that takes long is no dead connection", async () => {
  const url = await migratedDatabase();
  const log = new RecordingLog();
  const bridge = await runningBridge(url, log);
  const heard = new Heard();
  bridge.feed.listen(heard);
  const blocker = await connectTo(url);
  await blocker.query("begin; lock table carillon.cursor in exclusive mode");
  await queryAt(url, "select carillon.publish('chat', '1')");
  const since = performance.now();
  await waitFor(() => performance.now() - since > 5_000, { what: "more than the silence that is allowed" });
  expect(bridge.state).toMatchObject({
    connected: true,
    holdsLease: true,
    problem: expect.stringContaining("lock timeout"),
  });

  await blocker.query("rollback");

  await log.waitForPublications(1);
  expect(heard.events).toEqual([]);
  await waitFor(() => bridge.state.problem === undefined, { what: "the problem to be over" });
});

test("an idle bridge is idle and never in a transaction", async () => {
  const url = await migratedDatabase();
  const bridge = await runningBridge(url, new RecordingLog());
  await bridge.setListenChannels(["chat"]);
  const states = new Set<string>();

  for (let i = 0; i < 100; i++) {
    for (const { state } of await bridgePids(url)) states.add(state);
  }

  expect(states).not.toContain("idle in transaction");
  expect(states).toContain("idle");
});

test("a database that is away at first is waited for", async () => {
  const postgres = await startPostgres();
  onTestFinished(() => postgres.stop());
  const url = databaseUrl(postgres.url, "later");
  await postgres.stop();
  const log = new RecordingLog();
  const bridge = newBridge(url, log);
  bridge.start();
  await waitFor(() => bridge.state.problem !== undefined, { what: "the bridge to say what is wrong" });

  await postgres.start();
  await postgres.createDatabase("later");
  await migrate(url, { logger: { debug() {}, info() {}, warn() {}, error() {} } });
  await queryAt(url, "select carillon.publish('chat', '1')");

  await log.waitForPublications(1);
  await waitFor(() => bridge.state.problem === undefined, { what: "the problem to be over" });
  expect(bridge.state.connected).toBe(true);
});
