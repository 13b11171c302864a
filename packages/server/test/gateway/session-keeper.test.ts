import { noLogger, type SessionRecord } from "@carillon/core";
import { CarillonError, type Position } from "@carillon/protocol";
import { afterEach, expect, test } from "vitest";
import { openPolicy } from "../../src/auth/open.ts";
import { eventFrame } from "../../src/gateway/frames.ts";
import { cutReplays, provenPosition, SessionKeeper } from "../../src/gateway/session-keeper.ts";
import { connectionOf, type FakeConnection } from "./fakes.ts";

const at = (n: number, epoch = 1): Position => ({ epoch, n });
const record = (more: Partial<SessionRecord> = {}): SessionRecord => ({
  sub: "",
  namespace: "/channels",
  rooms: [],
  channels: [],
  replays: [],
  ...more,
});
const keepers: SessionKeeper[] = [];
afterEach(() => {
  for (const keeper of keepers.splice(0)) keeper.stop();
});

function keeper(settled: () => Position) {
  const saved: SessionRecord[] = [];
  const store = {
    failing: false,
    async save(_pid: string, value: SessionRecord) {
      await new Promise((resolve) => setImmediate(resolve));
      if (store.failing) throw new CarillonError("BUS_UNAVAILABLE");
      saved.push(value);
    },
    async load() {
      return saved.at(-1);
    },
    async touch() {},
  };
  const made = new SessionKeeper({
    sessions: store,
    policy: openPolicy,
    settled,
    logger: noLogger,
    retentionMs: 60_000,
    logMaxEntries: 160,
  });
  keepers.push(made);
  return { made, saved, store };
}

function deliver(connection: FakeConnection, n: number): void {
  connection.deliver(eventFrame(connection.style, "refresh", "{}", `1-${n}`), at(n));
}

test("a client with exactly the id that it was sent last goes on from where nothing was for it", async () => {
  let here = at(10);
  const { made, saved } = keeper(() => here);
  const connection = connectionOf({ pid: "p" });
  deliver(connection, 10);
  here = at(500);

  await made.save(connection);

  expect(provenPosition(saved[0], at(10))).toEqual(at(500));
  for (const other of [at(9), at(11), at(10, 2), at(600)]) expect(provenPosition(saved[0], other)).toEqual(other);
});

test("a client that was gone already when it was sent something again goes on from before that", async () => {
  const { made, saved } = keeper(() => at(505));
  const connection = connectionOf({ pid: "p" });
  deliver(connection, 10);
  deliver(connection, 500);
  deliver(connection, 501);

  await made.save(connection);

  expect(provenPosition(saved[0], at(10))).toEqual(at(499));
  expect(provenPosition(saved[0], at(500))).toEqual(at(500));
  expect(provenPosition(saved[0], at(501))).toEqual(at(505));
});

test("a gap ends what is known about the time before it", async () => {
  const { made, saved } = keeper(() => at(600));
  const connection = connectionOf({ pid: "p" });
  deliver(connection, 10);
  connection.advance(eventFrame(connection.style, "refresh", "{}", "1-500"), at(500));

  await made.save(connection);

  expect(provenPosition(saved[0], at(10))).toEqual(at(10));
  expect(provenPosition(saved[0], at(500))).toEqual(at(600));
});

test("a client that leaves while its record is written keeps its channels", async () => {
  const { made, saved } = keeper(() => at(0));
  const connection = connectionOf({
    pid: "p",
    style: { namespace: "/channels", ownChannel: undefined, ids: "args" },
    channels: ["orders"],
  });

  const saving = made.save(connection);
  made.forget(connection);
  connection.state = "closed";
  await saving;
  await new Promise((resolve) => setTimeout(resolve, 10));

  expect(saved.map(({ channels }) => channels)).toEqual(saved.map(() => ["orders"]));
});

test("a replay counts as cut until a later id was heard or a ping after it answered", async () => {
  const { made, saved } = keeper(() => at(0));
  const connection = connectionOf({
    pid: "p",
    style: { namespace: "/channels", ownChannel: undefined, ids: "args" },
    channels: ["orders"],
  });
  connection.addReplay("orders", { at: at(10), mark: connection.transport.mark });
  await made.save(connection);
  expect(cutReplays(saved[0]!, at(9))).toEqual(["orders"]);
  expect(cutReplays(saved[0]!, at(10))).toEqual(["orders"]);
  expect(cutReplays(saved[0]!, at(11, 2))).toEqual(["orders"]);
  expect(cutReplays(saved[0]!, at(11))).toEqual([]);

  connection.fake.ping();
  connection.fake.emit("heartbeat");
  await made.save(connection);

  expect(cutReplays(saved[1]!, at(9))).toEqual([]);
});

test("another user's record and that of another namespace are nobody's", async () => {
  const { made, saved } = keeper(() => at(0));
  saved.push(record({ sub: "1" }));
  const style = { namespace: "/channels", ownChannel: undefined, ids: "args" } as const;

  expect(await made.restore(connectionOf({ style, principal: { user: "2" } }), "p")).toBeUndefined();
  expect(await made.restore(connectionOf({ principal: { user: "1" } }), "p")).toBeUndefined();
  expect(await made.restore(connectionOf({ style, principal: { user: "1" } }), "p")).toBeDefined();
});
