import { History, MemoryLog, noLogger, noMeter, Ring, Sequencer } from "@carillon/core";
import { CarillonError, formatId, type JsonText, type Position } from "@carillon/protocol";
import { expect, test, vi } from "vitest";
import { CatchUp } from "../../src/gateway/catch-up.ts";
import type { StartingPoint, Subscription } from "../../src/gateway/connection.ts";
import { Laggards } from "../../src/gateway/laggards.ts";
import { Replay } from "../../src/gateway/replay.ts";
import { connectionOf } from "./fakes.ts";

async function node(options: { ring?: number; highWaterMarkBytes?: number; maxHeldBytes?: number } = {}) {
  const { ring: maxEntries = 1000, highWaterMarkBytes = 1_000_000, maxHeldBytes = 1_000_000 } = options;
  const log = new MemoryLog();
  const ring = new Ring({ maxEntries, maxBytes: 1e9 });
  const sequencer = new Sequencer({ log, ring, meter: noMeter, logger: noLogger, preload: 1000 });
  log.listen(sequencer);
  await sequencer.start();
  const failing = { on: false };
  const history = new History({
    log: {
      read: (after, limit) =>
        failing.on ? Promise.reject(new CarillonError("BUS_UNAVAILABLE")) : log.read(after, limit),
    },
    ring,
    meter: noMeter,
    position: () => sequencer.position,
  });
  const laggards = new Laggards({
    log,
    inMemory: () => true,
    here: () => sequencer.position,
    meter: noMeter,
    logger: noLogger,
    checkMs: 5,
  });
  const shared = { history, log, sequencer, spreadMs: () => undefined, meter: noMeter, logger: noLogger };
  const inMemory = (position: Position) => ring.after(position) !== undefined;
  const catchUp = new CatchUp({ ...shared, laggards, inMemory, highWaterMarkBytes, maxBytes: 500_000, maxHeldBytes });
  const replay = new Replay({ ...shared, settled: () => sequencer.position!, maxBytes: 500_000 });
  const publish = async (count: number, payload: string) => {
    await log.append(
      Array.from({ length: count }, () => ({ draft: { channel: "trips", payload: payload as JsonText } })),
    );
    await new Promise((resolve) => setImmediate(resolve));
  };
  const start = sequencer.position!;
  const from: StartingPoint = { kind: "offset", position: start };
  return { catchUp, replay, publish, log, sequencer, failing, from, start };
}

const BIG = JSON.stringify("x".repeat(1000));

test.each([1000, 16])(
  "no more is written at a time than the client reads, and join comes after all of it (ring of %i)",
  async (ring) => {
    const { catchUp, publish, from, sequencer } = await node({ ring, highWaterMarkBytes: 5000 });
    await publish(50, BIG);
    const connection = connectionOf();
    connection.state = "joining";
    connection.moveTo({ epoch: 0, n: 0 });
    connection.fake.reads = false;
    let joinedAfter = -1;
    let most = 0;
    const reader = setInterval(() => {
      most = Math.max(most, connection.transport.unsentBytes);
      connection.fake.sent();
      most = Math.max(most, connection.transport.unsentBytes);
    }, 1);

    const recovered = await catchUp.run(connection, from, () => {
      joinedAfter = connection.fake.written.length + connection.fake.writeBuffer.length;
    });
    clearInterval(reader);

    expect(recovered).toBe(true);
    expect(joinedAfter).toBe(50);
    expect(most).toBeGreaterThan(0);
    expect(most).toBeLessThan(7000);
    expect(connection.position).toEqual(sequencer.position);
    expect(connection.state).toBe("live");
  },
);

test("more than may be held for all together is told as a gap", async () => {
  const { catchUp, publish, from, sequencer } = await node({ maxHeldBytes: 10_000 });
  await publish(50, BIG);
  const connection = connectionOf();

  const recovered = await catchUp.run(connection, from, () => {});

  expect(recovered).toBe(false);
  expect(connection.fake.written).toEqual([
    `2/trips,["refresh",{"type":"REFRESH","scope":"ALL"},"${formatId(sequencer.position!)}"]`,
  ]);
  // What it held is given back.
  const next = connectionOf();
  await publish(2, BIG);
  expect(
    await catchUp.run(
      next,
      { kind: "offset", position: { ...sequencer.position!, n: sequencer.position!.n - 2 } },
      () => {},
    ),
  ).toBe(true);
});

test("any number come back at once from what the node has in memory: nothing is held for them", async () => {
  const { catchUp, publish, from } = await node({ maxHeldBytes: 120_000 }); // of one, not of two
  await publish(50, BIG);

  const recovered = await Promise.all(Array.from({ length: 20 }, () => catchUp.run(connectionOf(), from, () => {})));

  expect(recovered).toEqual(Array(20).fill(true));
});

test("while the log is out of reach nothing is told and nothing claimed; then everything", async () => {
  const { catchUp, publish, from, failing } = await node({ ring: 16 });
  await publish(50, "1");
  failing.on = true;
  const connection = connectionOf();

  const running = catchUp.run(connection, from, () => {});
  await new Promise((resolve) => setTimeout(resolve, 50));
  expect(connection.fake.written).toEqual([]);
  failing.on = false;

  expect(await running).toBe(true);
  expect(connection.fake.written).toHaveLength(50);
});

test("a connection that closes while it waits ends the work", async () => {
  const { catchUp, publish, from, failing } = await node({ ring: 16 });
  await publish(50, "1");
  failing.on = true;
  const connection = connectionOf();

  const running = catchUp.run(connection, from, () => expect.fail("joined"));
  connection.state = "closed";

  expect(await running).toBeUndefined();
});

test("an offset that nobody has come to yet is a gap at once, without waiting", async () => {
  const { catchUp, sequencer } = await node();
  const connection = connectionOf();
  const startedAt = performance.now();

  const recovered = await catchUp.run(
    connection,
    { kind: "offset", position: { ...sequencer.position!, n: 999_999 } },
    () => {},
  );

  expect(recovered).toBe(false);
  expect(performance.now() - startedAt).toBeLessThan(1000);
});

const style = { namespace: "/channels", ownChannel: undefined, ids: "args" } as const;

test.each(["before it began", "while it read"])(
  "a replay waits for a connection that fell behind %s, which would hear the same by catching up",
  async (when) => {
    const { replay, catchUp, publish, start, sequencer } = await node({ ring: 16 });
    await publish(40, "1");
    const connection = connectionOf({ style });
    connection.moveTo(start);
    connection.channels.set("trips", { release: () => {}, active: false, recovered: false });
    const fallBehind = () => {
      connection.state = "behind";
      connection.whole = (async () => {
        await new Promise((resolve) => setTimeout(resolve, 20));
        await catchUp.run(connection, { kind: "offset", position: connection.position }, () => {});
      })();
    };

    if (when === "before it began") fallBehind();
    const running = replay.run(
      connection,
      "trips",
      { position: start },
      () => expect(connection.state).toBe("live"),
      () => {
        connection.channels.get("trips")!.active = true;
      },
    );
    await Promise.resolve();
    await Promise.resolve();
    if (when === "while it read") fallBehind();
    await running;

    const payloads = connection.fake.written.filter((text) => text.includes('"notification"'));
    expect(payloads).toHaveLength(40);
    expect(payloads.every((text) => text.endsWith(`"${formatId(sequencer.position!)}"]`))).toBe(true);
  },
);

test("a channel that was taken away is not heard any more, also where what it had was found before", async () => {
  const { catchUp, publish, from, start, sequencer } = await node({ ring: 16, highWaterMarkBytes: 5000 });
  await publish(50, BIG);
  const connection = connectionOf({ style, channels: ["trips"] });
  connection.state = "behind";
  connection.moveTo(start);
  connection.fake.reads = false;
  const { fake } = connection;
  const running = catchUp.run(connection, from, () => {});
  await vi.waitFor(() => expect(fake.writeBuffer.length).toBeGreaterThan(0));
  const before = fake.written.length + fake.writeBuffer.length;

  connection.channels.delete("trips");
  fake.reads = true;
  fake.sent();

  expect(await running).toBe(true);
  expect(fake.written).toHaveLength(before);
  expect(connection.position).toEqual(sequencer.position);
});

test("a role that was taken away while a replay was read is missing in it", async () => {
  const { replay, log, publish, start } = await node({ ring: 16 });
  await log.append([{ draft: { channel: "trips", payload: "1" as JsonText, to: { roles: ["admin"] } } }]);
  await publish(600, "2");
  const connection = connectionOf({ style, principal: { roles: ["admin"] } });
  connection.moveTo(start);
  const read = log.read.bind(log);
  const afterTheFirst = vi.spyOn(log, "read").mockImplementation((after, limit) => {
    if (afterTheFirst.mock.calls.length === 2) connection.principal = { ...connection.principal, roles: [] };
    return read(after, limit);
  });
  const ignore = () => {};

  await replay.run(connection, "trips", { position: start }, ignore, ignore);

  expect(connection.fake.written).toHaveLength(600);
  expect(connection.fake.written.filter((text) => text.includes('"payload":1'))).toEqual([]);
});

test("what was replayed is not heard again by whoever falls behind before it hears anything else", async () => {
  const { replay, catchUp, publish, start, sequencer } = await node();
  await publish(5, "1");
  const connection = connectionOf({ style });
  connection.moveTo(start);
  const subscription: Subscription = { release: () => {}, active: false, recovered: false };
  connection.channels.set("trips", subscription);
  await replay.run(
    connection,
    "trips",
    { position: start },
    () => {},
    ({ from }) => Object.assign(subscription, { active: true, from }),
  );
  await publish(2, "2");

  connection.state = "behind";
  await catchUp.run(connection, { kind: "offset", position: connection.position }, () => {});

  const payloads = connection.fake.written.map((text) => /"payload":(\d)/.exec(text)?.[1]);
  expect(payloads).toEqual(["1", "1", "1", "1", "1", "2", "2"]);
  expect(connection.position).toEqual(sequencer.position);
});
